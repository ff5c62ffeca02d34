//! Writes compact JSON in the order it is told, without building a tree.

/// A JSON text in the making. Keys are plain ASCII names; values are escaped.
#[derive(Debug, Default)]
pub(super) struct Json {
    out: String,
}

impl Json {
    pub(super) fn clear(&mut self) {
        self.out.clear();
    }

    pub(super) fn as_str(&self) -> &str {
        &self.out
    }

    /// A comma, unless the value is the first of its object or array.
    fn next(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }

    fn key(&mut self, key: &str) {
        self.next();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    fn string(&mut self, value: &str) {
        self.out.push('"');
        let mut rest = value;
        // Most values have nothing to escape and are copied whole.
        while let Some(at) = rest.find(['"', '\\', '\n']) {
            let (plain, special) = rest.split_at(at);
            self.out.push_str(plain);
            self.out.push_str(match special.as_bytes() {
                [b'"', ..] => "\\\"",
                [b'\\', ..] => "\\\\",
                _ => "\\n",
            });
            rest = special.get(1..).unwrap_or("");
        }
        self.out.push_str(rest);
        self.out.push('"');
    }

    /// An object as an element of an array, or as the whole text.
    pub(super) fn item(&mut self, body: impl FnOnce(&mut Self)) {
        self.next();
        self.out.push('{');
        body(self);
        self.out.push('}');
    }

    /// A string as an element of an array.
    pub(super) fn text_item(&mut self, value: &str) {
        self.next();
        self.string(value);
    }

    /// `"key":{…}`
    pub(super) fn object(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        self.key(key);
        self.out.push('{');
        body(self);
        self.out.push('}');
    }

    /// `"key":[…]`
    pub(super) fn array(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        self.key(key);
        self.out.push('[');
        body(self);
        self.out.push(']');
    }

    /// `"key":"value"`
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }

    /// `"key":value`, the value being JSON already: a number, `true`, `null`.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push_str(value);
    }

    /// `"key":true`
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let odd = "a \"quoted\" \\ back\nslash é";
        let mut json = Json::default();
        json.item(|json| {
            json.text("text", odd);
            json.array("list", |json| {
                json.text_item("x");
                json.item(|json| json.flag("yes", true));
                json.item(|_| {});
            });
            json.object("object", |json| json.raw("number", "1.50"));
        });
        let read: serde_json::Value = serde_json::from_str(json.as_str()).unwrap();
        assert_eq!(read["text"], odd);
        assert_eq!(read["list"][1]["yes"], true);
        assert!(json.as_str().ends_with(r#""object":{"number":1.50}}"#));
    }
}
