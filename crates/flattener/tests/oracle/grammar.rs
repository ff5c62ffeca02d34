//! FHIRPath's grammar: an expression's text as a tree, by climbing the table of precedence (FHIRPath N1, 8.1).

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    This,
    /// `$index`.
    Index,
    Nothing,
    Text(String),
    Number(String),
    Boolean(bool),
    Moment(String),
    Variable(String),
    Member(Box<Node>, String),
    At(Box<Node>, Box<Node>),
    Call(Box<Node>, String, Vec<Node>),
    Minus(Box<Node>),
    Binary(Box<Node>, String, Box<Node>),
}

/// How tightly an operator binds; none is tighter than a step of a path.
fn strength(operator: &str) -> Option<u8> {
    Some(match operator {
        "*" | "/" | "div" | "mod" => 10,
        "+" | "-" | "&" => 9,
        "is" | "as" => 8,
        "|" => 7,
        "<" | "<=" | ">" | ">=" => 6,
        "=" | "!=" | "~" | "!~" => 5,
        "in" | "contains" => 4,
        "and" => 3,
        "or" | "xor" => 2,
        "implies" => 1,
        _ => return None,
    })
}

/// Reads an expression that is known to be right.
pub(crate) fn read(text: &str) -> Node {
    let mut reader = Reader { tokens: tokens(text), at: 0 };
    let node = reader.binary(0);
    assert_eq!(reader.at, reader.tokens.len(), "{text}");
    node
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, an operator, a bracket.
    Word(String),
    Quoted(String),
    Text(String),
    Number(String),
    Moment(String),
    Variable(String),
    Dollar(String),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let span = |more: &dyn Fn(char) -> bool, from: &str| from.find(|c| !more(c)).unwrap_or(from.len());
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (token, length) = match first {
            '\'' => {
                let (inside, length) = quoted(rest, '\'');
                (Token::Text(inside), length)
            }
            '`' => {
                let (inside, length) = quoted(rest, '`');
                (Token::Quoted(inside), length)
            }
            '%' if rest[1..].starts_with('`') => {
                let (inside, length) = quoted(&rest[1..], '`');
                (Token::Variable(inside), length + 1)
            }
            '%' => {
                let length = span(&word, &rest[1..]);
                (Token::Variable(rest[1..=length].to_owned()), length + 1)
            }
            '$' => {
                let length = span(&word, &rest[1..]);
                (Token::Dollar(rest[1..=length].to_owned()), length + 1)
            }
            '@' => {
                // A point is the second's only before a digit: else a function follows.
                let belongs = |(at, c): (usize, char)| {
                    let digit = rest[at + 1..].chars().nth(1).is_some_and(|next| next.is_ascii_digit());
                    c.is_ascii_digit() || "-:+TZ".contains(c) || (c == '.' && digit)
                };
                let length = rest[1..].char_indices().take_while(|one| belongs(*one)).count();
                (Token::Moment(rest[1..=length].trim_start_matches('T').to_owned()), length + 1)
            }
            '0'..='9' => {
                let whole = span(&|c| c.is_ascii_digit(), rest);
                let point =
                    rest[whole..].strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                let length = point.map_or(whole, |rest| whole + 1 + span(&|c| c.is_ascii_digit(), rest));
                (Token::Number(rest[..length].to_owned()), length)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = span(&word, rest);
                (Token::Word(rest[..length].to_owned()), length)
            }
            _ => {
                let two = ["<=", ">=", "!=", "!~"].into_iter().find(|two| rest.starts_with(two));
                let length = if two.is_some() { 2 } else { 1 };
                (Token::Word(rest[..length].to_owned()), length)
            }
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    found
}

/// What stands between quotes, and the length with them.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let (mut inside, mut characters) = (String::new(), text.char_indices().skip(1));
    loop {
        let (at, character) = characters.next().expect("a quote ends");
        match character {
            c if c == quote => return (inside, at + 1),
            '\\' => match characters.next().expect("an escape goes on").1 {
                'n' => inside.push('\n'),
                't' => inside.push('\t'),
                other => inside.push(other),
            },
            other => inside.push(other),
        }
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn take(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if word == wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) {
        assert!(self.take(wanted), "`{wanted}` at {} of {:?}", self.at, self.tokens);
    }

    fn binary(&mut self, least: u8) -> Node {
        let mut left = self.unary();
        while let Some(Token::Word(operator)) = self.tokens.get(self.at).cloned() {
            let Some(strength) = strength(&operator).filter(|strength| *strength > least) else { break };
            self.at += 1;
            let right = self.binary(strength);
            left = match operator.as_str() {
                "is" | "as" => Node::Call(Box::new(left), operator, vec![right]),
                _ => Node::Binary(Box::new(left), operator, Box::new(right)),
            };
        }
        left
    }

    fn unary(&mut self) -> Node {
        if self.take("-") {
            return Node::Minus(Box::new(self.path()));
        }
        self.path()
    }

    fn path(&mut self) -> Node {
        let mut node = self.term();
        loop {
            if self.take(".") {
                node = self.step(node);
            } else if self.take("[") {
                node = Node::At(Box::new(node), Box::new(self.binary(0)));
                self.expect("]");
            } else {
                return node;
            }
        }
    }

    fn step(&mut self, of: Node) -> Node {
        self.at += 1;
        let name = match self.tokens[self.at - 1].clone() {
            Token::Word(name) | Token::Quoted(name) => name,
            Token::Dollar(_) => return of,
            other => panic!("{other:?} is no step"),
        };
        if !self.take("(") {
            return Node::Member(Box::new(of), name);
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            self.take(",");
            arguments.push(self.binary(0));
        }
        Node::Call(Box::new(of), name, arguments)
    }

    fn term(&mut self) -> Node {
        self.at += 1;
        match self.tokens[self.at - 1].clone() {
            Token::Text(text) => Node::Text(text),
            Token::Number(digits) => Node::Number(digits),
            Token::Moment(text) => Node::Moment(text),
            Token::Variable(name) => Node::Variable(name),
            Token::Dollar(name) if name == "index" => Node::Index,
            Token::Dollar(_) => Node::This,
            Token::Word(word) if word == "(" => {
                let inner = self.binary(0);
                self.expect(")");
                inner
            }
            Token::Word(word) if word == "{" => {
                self.expect("}");
                Node::Nothing
            }
            Token::Word(word) if word == "true" || word == "false" => Node::Boolean(word == "true"),
            Token::Word(_) | Token::Quoted(_) => {
                self.at -= 1;
                self.step(Node::This)
            }
        }
    }
}
