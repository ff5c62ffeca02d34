//! Tokens of FHIRPath (FHIRPath N1, grammar).

use std::ops::Range;

use fhirvest_fhir::temporal::{Kind, Moment};

use super::SyntaxError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name; `quoted` if it stood between backticks.
    Name(String),
    Quoted(String),
    String(String),
    Number(String),
    Temporal(String),
    /// `%name`.
    Constant(String),
    /// `$this`.
    Dollar(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 22] =
    ["!=", "!~", "<=", ">=", ".", ",", "(", ")", "[", "]", "{", "}", "=", "~", "<", ">", "+", "-", "*", "/", "|", "&"];

pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if let Some(length) = comment(&text[at..]) {
            let open = || SyntaxError { span: at..text.len(), message: "the comment is not closed".into() };
            at += length.ok_or_else(open)?;
            continue;
        }
        let token = match c {
            '\'' => Token::String(quoted(text, &mut at, '\'')?),
            '`' => Token::Quoted(quoted(text, &mut at, '`')?),
            '%' => {
                at += 1;
                match text[at..].chars().next() {
                    Some('\'') => Token::Constant(quoted(text, &mut at, '\'')?),
                    Some('`') => Token::Constant(quoted(text, &mut at, '`')?),
                    _ => Token::Constant(word(text, &mut at)),
                }
            }
            '$' => {
                at += 1;
                Token::Dollar(word(text, &mut at))
            }
            '@' => {
                at += 1;
                let rest = &text[at..];
                let length = rest.find(|c: char| !(c.is_ascii_digit() || "-:.TZ+".contains(c))).unwrap_or(rest.len());
                // `@2020.exists()`: a point belongs to it only within the seconds.
                let length = rest[..length].trim_end_matches('.').len();
                at += length;
                Token::Temporal(temporal(&rest[..length], start)?)
            }
            c if c.is_ascii_digit() => {
                let rest = &text[at..];
                let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let fraction = rest[whole..]
                    .strip_prefix('.')
                    .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
                let length = if fraction > 0 { whole + 1 + fraction } else { whole };
                at += length;
                Token::Number(rest[..length].to_owned())
            }
            c if c.is_ascii_alphabetic() || c == '_' => Token::Name(word(text, &mut at)),
            _ => {
                let Some(symbol) = SYMBOLS.iter().find(|symbol| text[at..].starts_with(**symbol)) else {
                    let message = format!("{c:?} means nothing here");
                    return Err(SyntaxError { span: at..at + c.len_utf8(), message });
                };
                at += symbol.len();
                Token::Symbol(symbol)
            }
        };
        if matches!(&token, Token::Constant(name) | Token::Dollar(name) if name.is_empty()) {
            return Err(SyntaxError { span: start..at, message: "a name has to follow".into() });
        }
        tokens.push((token, start..at));
    }
    Ok(tokens)
}

/// The length of a comment at the start of the text; nothing within where it does not end.
fn comment(text: &str) -> Option<Option<usize>> {
    if text.starts_with("//") {
        return Some(Some(text.find('\n').unwrap_or(text.len())));
    }
    text.starts_with("/*").then(|| text.find("*/").map(|place| place + 2))
}

/// A date, a dateTime or a time, as it stands behind the `@`.
fn temporal(text: &str, start: usize) -> Result<String, SyntaxError> {
    let clock = text.strip_prefix('T');
    let found = clock.unwrap_or(text);
    let kind = Moment::parse(found).map(|moment| moment.kind);
    if kind.is_none() || (clock.is_some() != (kind == Some(Kind::Time))) {
        let message = "this is no date, dateTime or time: @2020-08-05, @2020-08-05T19:21:12Z, @T19:21".into();
        return Err(SyntaxError { span: start..start + 1 + text.len(), message });
    }
    Ok(found.to_owned())
}

fn word(text: &str, at: &mut usize) -> String {
    let rest = &text[*at..];
    let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    *at += length;
    rest[..length].to_owned()
}

/// The text between two quotes, with its escapes resolved; `at` stands on the first quote and ends after the second.
fn quoted(text: &str, at: &mut usize, quote: char) -> Result<String, SyntaxError> {
    let start = *at;
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((place, c)) = chars.next() {
        if c == quote {
            *at = start + 1 + place + 1;
            return Ok(value);
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let escaped = chars.next().map(|(_, c)| c);
        value.push(match escaped {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('f') => '\u{c}',
            Some('u') => {
                let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                // Rust's own reading takes a sign as well.
                let four = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let code = four.then(|| u32::from_str_radix(&digits, 16).ok()).flatten().and_then(char::from_u32);
                let here = start + 1 + place..start + 3 + place;
                code.ok_or_else(|| SyntaxError { span: here, message: "\\u needs four hexadecimal digits".into() })?
            }
            Some(c @ ('\\' | '/' | '\'' | '"' | '`')) => c,
            _ => {
                let span = start + 1 + place..(start + 3 + place).min(text.len());
                return Err(SyntaxError { span, message: "there is no such escape".into() });
            }
        });
    }
    Err(SyntaxError { span: start..text.len(), message: format!("the closing {quote} is missing") })
}
