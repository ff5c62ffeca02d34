//! JSON as an owned tree that keeps what was written: the digits of numbers, the text of objects, the order of fields.

use std::rc::Rc;

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    /// A number, as written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Rc<Object>),
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    pub(crate) fields: Vec<(String, Json)>,
    /// As written.
    pub(crate) text: String,
}

impl Json {
    /// Reads a text that is known to be JSON.
    pub(crate) fn read(text: &str) -> Self {
        let mut reader = Reader { text, at: 0 };
        reader.value()
    }

    /// The field of an object; of two with one name the first.
    pub(crate) fn field(&self, name: &str) -> Option<&Json> {
        let Self::Object(object) = self else { return None };
        object.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> char {
        self.at += self.text[self.at..].len() - self.text[self.at..].trim_start().len();
        self.text[self.at..].chars().next().expect("JSON goes on here")
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.next() == wanted;
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Json {
        let first = self.next();
        let begin = self.at;
        match first {
            '{' => {
                self.at += 1;
                let mut fields = Vec::new();
                while !self.take('}') {
                    self.take(',');
                    self.next();
                    let name = self.string();
                    assert!(self.take(':'), "a key has its colon");
                    fields.push((name, self.value()));
                }
                Json::Object(Rc::new(Object { fields, text: self.text[begin..self.at].to_owned() }))
            }
            '[' => {
                self.at += 1;
                let mut list = Vec::new();
                while !self.take(']') {
                    self.take(',');
                    list.push(self.value());
                }
                Json::List(list)
            }
            '"' => Json::Text(self.string()),
            _ => {
                let rest = &self.text[begin..];
                let word = &rest[..rest.find([',', '}', ']', ' ', '\n', '\r', '\t']).unwrap_or(rest.len())];
                self.at += word.len();
                match word {
                    "null" => Json::Null,
                    "true" | "false" => Json::Boolean(word == "true"),
                    digits => Json::Number(digits.to_owned()),
                }
            }
        }
    }

    fn string(&mut self) -> String {
        let begin = self.at;
        let mut escaped = false;
        let length = self.text[begin + 1..].find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        self.at += length.expect("a string ends") + 2;
        serde_json::from_str(&self.text[begin..self.at]).unwrap()
    }
}
