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
        for character in value.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
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
