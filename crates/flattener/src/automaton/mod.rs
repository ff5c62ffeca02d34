//! The quick way to read a resource that is written like those before it. Who writes resources writes them alike: what
//! stands between one value and the next (brackets, commas, keys) is one of a few texts, by where in a resource it stands.
//! An automaton learns these texts from resources that were read thoroughly ([`crate::scan`]), each with what it does to the
//! arena's nodes. From then on reading is comparing with them, and looking for the ends of values; a text that is not known,
//! or a duplicate key, sends the resource to the thorough way, which gives the same nodes.
//!
//! A state is a place among the trie's names, with whether each of its elements stands in a list: all that the meaning of
//! what follows depends on, but for duplicate keys, which are looked for separately.

mod lesson;
mod shapes;

use std::collections::HashMap;

use fhirvest_fhir::{
    quotes::{LookedFor, Quotes, plain_end, string_end},
    walk::Walk,
};

pub(crate) use self::shapes::Shapes;
use crate::{
    arena::{Arena, NONE, Value, bit},
    trie::{Keeping, Trie},
};

/// Gaps that are learned, their bytes, and those that follow one state: what no resource's structure needs, but a source whose
/// keys are data would.
const MOST_GAPS: usize = 1 << 12;
const MOST_BYTES: usize = 1 << 18;
const MOST_AFTER_ONE: usize = 32;

/// How many resources more may be unknown than known before the automaton rests, how far the known ones count, and how many
/// resources it rests for.
const CREDIT: u32 = 256;
const MOST_CREDIT: u32 = 1024;
const REST: u32 = 1 << 12;

/// What is known of a trie's resources.
#[derive(Debug, Default)]
pub(crate) struct Automaton {
    states: Vec<State>,
    /// States by where they stand: for each element that is open the trie's node, the place of its name from 1 on (0 where no
    /// view needs it), and whether it stands in a list.
    known: HashMap<Vec<u32>, u32>,
    gaps: usize,
    bytes: usize,
    trust: Trust,
    /// The objects that the one being read stands in.
    around: Vec<Frame>,
}

/// Whether what is known is worth trying.
#[derive(Debug)]
struct Trust {
    credit: u32,
    /// Resources that are not tried.
    rest: u32,
}

impl Default for Trust {
    fn default() -> Self {
        Self { credit: CREDIT, rest: 0 }
    }
}

impl Trust {
    /// Whether the next resource is tried.
    fn tries(&mut self) -> bool {
        if self.rest > 0 {
            (self.credit, self.rest) = (CREDIT, self.rest - 1);
            return false;
        }
        true
    }

    fn tried(&mut self, is_known: bool) {
        self.credit = if is_known { MOST_CREDIT.min(self.credit + 1) } else { self.credit.saturating_sub(1) };
        if self.credit == 0 {
            self.rest = REST;
        }
    }

    fn rests(&self) -> bool {
        self.rest > 0
    }
}

#[derive(Debug, Default)]
struct State {
    /// What may follow.
    gaps: Vec<Gap>,
    /// Which of them did the last time.
    last: usize,
}

/// What stands between two values, up to the first byte of the second one's content.
#[derive(Debug)]
struct Gap {
    text: Written,
    operations: Box<[Operation]>,
    /// The value that follows.
    value: Next,
    /// A bit for the place of its name among the names of the object, if its key stands in the gap.
    key: u64,
    /// How many objects and arrays it stands in.
    depth: u32,
    /// The state after the value.
    to: u32,
}

/// What a part of a gap does.
#[derive(Debug, Clone, Copy)]
struct Operation {
    /// As [`Gap::key`].
    key: u64,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Into an object; where its JSON is kept, the place in the gap where it begins.
    Open(u32, Option<u32>),
    /// Out of it; the place in the gap after it.
    Close(u32),
    Boolean(u32, bool),
    /// A key without a value that is kept.
    Nothing,
}

/// The value after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A string; its name.
    Text(u32),
    /// A number; its name. An object where no field of it is needed.
    Other(u32, Keeping),
    /// A string that no view needs.
    SkippedText,
    /// Another value that no view needs.
    Skipped,
    /// None: the resource ends with the gap.
    End,
}

/// An object that is open.
#[derive(Debug, Clone, Copy)]
struct Frame {
    node: u32,
    /// The last node in it.
    last: u32,
    /// A [`bit`] for each name.
    names: u64,
    /// As [`Gap::key`], of all keys that were met.
    seen: u64,
    /// Where its JSON begins, where that is kept.
    json: Option<usize>,
}

impl Frame {
    fn new(node: u32, json: Option<usize>) -> Self {
        Self { node, last: NONE, names: 0, seen: 0, json }
    }

    /// Notes a key; whether it is the first of its name.
    #[inline(always)]
    fn meet(&mut self, key: u64) -> bool {
        let first = self.seen & key == 0;
        self.seen |= key;
        first
    }

    #[inline(always)]
    fn add(&mut self, arena: &mut Arena, name: u32, value: Value) -> u32 {
        self.names |= bit(name);
        arena.add(name, &mut self.last, value)
    }
}

/// A text, as it is compared with the beginning of a longer one.
#[derive(Debug)]
struct Written {
    /// Its first bytes, sixteen by sixteen, and which bits of them count.
    heads: [u128; 2],
    masks: [u128; 2],
    all: Box<[u8]>,
}

const HEAD: usize = 32;

impl Written {
    fn new(all: &[u8]) -> Self {
        let (mut bytes, mut mask) = ([0; HEAD], [0; HEAD]);
        let length = all.len().min(HEAD);
        bytes[..length].copy_from_slice(&all[..length]);
        mask[..length].fill(u8::MAX);
        Self { heads: halves(&bytes), masks: halves(&mask), all: all.into() }
    }

    /// Whether a text has it at a place.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: usize) -> bool {
        let Some(rest) = text.get(at..) else { return false };
        let Some(window) = rest.first_chunk::<HEAD>() else { return rest.starts_with(&self.all) };
        let ([first, second], [mask, second_mask], [head, second_head]) = (halves(window), self.masks, self.heads);
        // Two arrays that are compared as such go through memory, and wait for it.
        ((first & mask) ^ head) | ((second & second_mask) ^ second_head) == 0
            && (self.all.len() <= HEAD || rest[HEAD..].starts_with(&self.all[HEAD..]))
    }
}

#[inline(always)]
fn halves(bytes: &[u8; HEAD]) -> [u128; 2] {
    let half = |half: usize| bytes[16 * half..].first_chunk().map_or(0, |half| u128::from_le_bytes(*half));
    [half(0), half(1)]
}

impl Automaton {
    /// Nothing is known, but the state in which a resource begins.
    pub(crate) fn new() -> Self {
        let known = HashMap::from([(Vec::new(), 0)]);
        Self { states: vec![State::default()], known, ..Self::default() }
    }

    /// Reads a text into the node of a resource, and where the text begins in the arena's; `false`, with nodes left behind that
    /// are to be taken back, where not all of it is known.
    pub(crate) fn read(&mut self, arena: &mut Arena, (text, begin): (&str, usize), root: u32) -> bool {
        if !self.trust.tries() {
            return false;
        }
        let is_known = self.run(arena, (text, begin), root).is_some();
        self.trust.tried(is_known);
        is_known
    }

    fn run(&mut self, arena: &mut Arena, (text, begin): (&str, usize), root: u32) -> Option<()> {
        let bytes = text.as_bytes();
        self.around.clear();
        let mut frame = Frame::new(root, None);
        let (mut at, mut state) = (0, 0_u32);
        loop {
            let Self { states, around, .. } = self;
            let gap = states.get_mut(state as usize)?.next(bytes, at)?;
            for Operation { key, what } in &gap.operations {
                if !frame.meet(*key) {
                    return None;
                }
                match *what {
                    What::Open(name, json) => {
                        let node = frame.add(arena, name, Value::Object);
                        around.push(frame);
                        frame = Frame::new(node, json.map(|json| at + json as usize));
                    }
                    What::Close(end) => {
                        arena.name_children(frame.node, frame.names);
                        if let Some(json) = frame.json {
                            arena.set(frame.node, Value::Json(Arena::piece(begin + json, begin + at + end as usize)));
                        }
                        // Of the resource itself nothing is around.
                        if let Some(outer) = around.pop() {
                            frame = outer;
                        }
                    }
                    What::Boolean(name, value) => {
                        frame.add(arena, name, Value::Boolean(value));
                    }
                    What::Nothing => {}
                }
            }
            if !frame.meet(gap.key) {
                return None;
            }
            at += gap.text.all.len();
            at = match gap.value {
                Next::Text(name) => match plain_end(bytes, at) {
                    Some(end) => {
                        frame.add(arena, name, Value::Text(Arena::piece(begin + at, begin + end)));
                        end
                    }
                    None => {
                        let (end, unescaped) = unescaped(text, at)?;
                        let piece = arena.keep(&unescaped);
                        frame.add(arena, name, Value::Text(piece));
                        end
                    }
                },
                Next::SkippedText => string_end(bytes, at)?,
                Next::Other(name, keeping) => {
                    let mut walk = Walk::within(text, LookedFor(bytes), gap.depth);
                    let (end, is_number) = match bytes.get(at)? {
                        b'{' if keeping.leaf => (walk.skip(at)?, false),
                        b'-' | b'0'..=b'9' => (walk.primitive(at)?, true),
                        _ => return None,
                    };
                    let piece = Arena::piece(begin + at, begin + end);
                    frame.add(arena, name, if is_number { Value::Number(piece) } else { Value::Json(piece) });
                    end
                }
                Next::Skipped => Walk::within(text, LookedFor(bytes), gap.depth).skip(at)?,
                Next::End => break,
            };
            state = gap.to;
        }
        (at == bytes.len()).then_some(())
    }

    /// Adds what may follow a state, unless it is known, or too much would be.
    fn add(&mut self, state: u32, text: &[u8], gap: Gap) {
        if let Some(state) = self.states.get_mut(state as usize)
            && state.gaps.len() < MOST_AFTER_ONE
            && !state.gaps.iter().any(|gap| *gap.text.all == *text)
        {
            self.gaps += 1;
            self.bytes += text.len();
            state.gaps.push(gap);
        }
    }

    /// Learns from a text that is JSON, and was read into nodes of which none was noted as odd or paired.
    #[cold]
    pub(crate) fn learn(&mut self, trie: &Trie, text: &str, quotes: &Quotes) {
        if self.gaps >= MOST_GAPS || self.bytes >= MOST_BYTES || self.trust.rests() {
            return;
        }
        let mut state = 0;
        for part in lesson::parts(trie, text, quotes).0 {
            let to = match self.known.get(&part.place) {
                Some(to) => *to,
                None => {
                    let to = Arena::number(self.states.len());
                    self.states.push(State::default());
                    self.known.insert(part.place, to);
                    to
                }
            };
            let text = &text.as_bytes()[part.gap];
            self.add(state, text, Gap::new(text, part.operations, (part.value, part.key, part.depth), to));
            state = to;
        }
    }
}

/// What a string with escapes says, of which the content begins at a place, and where it ends. Nothing where it is no text.
#[cold]
fn unescaped(text: &str, at: usize) -> Option<(usize, String)> {
    let end = string_end(text.as_bytes(), at)?;
    let unescaped = serde_json::from_str(text.get(at.checked_sub(1)?..=end)?);
    Some((end, unescaped.ok()?))
}

impl Gap {
    fn new(text: &[u8], operations: Vec<Operation>, (value, key, depth): (Next, u64, u32), to: u32) -> Self {
        let (text, operations) = (Written::new(text), operations.into());
        Self { text, operations, value, key, depth, to }
    }

    /// Whether a text has it at a place. What ends where a number begins is the beginning of what ends in a string, or in `null`.
    #[inline(always)]
    fn is_at(&self, text: &[u8], at: usize) -> bool {
        let begins = |value: Option<&u8>| match (value, self.value) {
            (_, Next::Text(_) | Next::SkippedText | Next::End) => true,
            (Some(b'-' | b'0'..=b'9' | b'{' | b'['), Next::Skipped) => true,
            // A number where R4 has an object is odd.
            (Some(b'-' | b'0'..=b'9'), Next::Other(_, keeping)) => !keeping.object,
            (Some(b'{'), Next::Other(_, keeping)) => keeping.leaf,
            _ => false,
        };
        self.text.is_at(text, at) && begins(text.get(at + self.text.all.len()))
    }
}

impl State {
    /// What stands at a place of a text, if it is known.
    #[inline(always)]
    fn next(&mut self, text: &[u8], at: usize) -> Option<&Gap> {
        if !self.gaps.get(self.last)?.is_at(text, at) {
            self.last = self.gaps.iter().position(|gap| gap.is_at(text, at))?;
        }
        self.gaps.get(self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Elements with parts, one that is kept as JSON as well, one of which no part is needed, and plain ones.
    pub(super) fn trie() -> Trie {
        let mut trie = Trie::new();
        for name in ["id", "active", "rank", "leaf"] {
            trie.child(Trie::ROOT, name);
        }
        let name = trie.child(Trie::ROOT, "name");
        trie.object(name);
        for part in ["given", "family", "use"] {
            trie.child(name, part);
        }
        let compared = trie.name("use");
        trie.compare(compared);
        let whole = trie.child(Trie::ROOT, "whole");
        trie.object(whole);
        let kept = trie.child(Trie::ROOT, "kept");
        trie.json(kept);
        let inner = trie.child(kept, "name");
        trie.child(inner, "family");
        trie.end();
        trie
    }

    /// What stands in a resource: all that the automaton knows, and what sends a resource to the thorough way.
    fn values() -> impl Strategy<Value = String> {
        let text = prop::sample::select(vec![
            "a",
            "",
            "{[\u{e4}]}:,",
            "a text of more than sixteen bytes",
            "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/x",
            r#"<div class=\"narrative\">\u00e4</div>"#,
        ]);
        let text = text.prop_map(|text| format!("\"{text}\""));
        let other = prop::sample::select(vec!["0", "-1.50", "2e3", "true", "false", "null", "[]", "{}", "[1,\"b\"]"]);
        let odd = prop::sample::select(vec!["\"\\x\"", "\"\\ud800\"", "[[1]]", "\"\t\"", "01", "\"x", "nul", "[1,]"]);
        let leaf = prop_oneof![8 => text, 4 => other.prop_map(str::to_owned), 1 => odd.prop_map(str::to_owned)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let object = prop::collection::vec((key(), inner.clone()), 0..4).prop_map(|members| object(&members, ""));
            prop_oneof![
                3 => object,
                2 => prop::collection::vec(inner, 0..3).prop_map(|list| format!("[{}]", list.join(","))),
            ]
        })
    }

    fn key() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "id",
            "name",
            "given",
            "family",
            "use",
            "active",
            "rank",
            "leaf",
            "whole",
            "kept",
            "other",
            "n\\u0061me",
        ])
    }

    fn object(members: &[(&str, String)], space: &str) -> String {
        let members = members.iter().map(|(key, value)| format!("{space}\"{key}\":{space}{value}"));
        format!("{{{}{space}}}", members.collect::<Vec<_>>().join(","))
    }

    pub(super) fn resources() -> impl Strategy<Value = String> {
        let space = prop::sample::select(vec!["", "", "", "\n  "]);
        let valid = || {
            let members = prop::collection::vec((key(), values()), 0..6);
            (members, space.clone()).prop_map(|(members, space)| object(&members, space))
        };
        let broken = (valid(), any::<prop::sample::Index>(), prop::sample::select(b"\"\\{}[],:0a \x01".to_vec()));
        let broken = broken.prop_map(|(text, place, byte)| {
            let mut bytes = text.into_bytes();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            String::from_utf8(bytes).unwrap_or_default()
        });
        prop_oneof![4 => valid(), 1 => broken]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_is_known_is_read_as_the_thorough_way_reads_it(
            texts in prop::collection::vec(resources(), 1..12),
            again in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let trie = trie();
            let mut learned = Arena::without_shapes();
            let twice = again.iter().map(|place| place.get(&texts)).chain(&texts);
            for text in texts.iter().chain(twice) {
                let mut thorough = Arena::default();
                learned.clear();
                let expected = thorough.read(&trie, text);
                prop_assert_eq!(learned.read(&trie, text), expected, "{}", text);
                prop_assert_eq!(learned.told(), thorough.told(), "{}", text);
            }
        }
    }

    #[test]
    fn resources_of_one_structure_are_known_from_the_second_one_on() {
        let trie = trie();
        let mut arena = Arena::without_shapes();
        let text = |number: usize| {
            let names = r#"{"given":["A","B"],"family":"F","x":{"y":[1]}}"#;
            let (names, end) = (vec![names; number % 3].join(","), "x".repeat(number));
            format!(
                r#"{{"resourceType":"P","id":"{number}","text":"{end}","name":[{names}],"kept":{{"name":{{"family":"{end}"}},"z":[]}},"rank":{number},"active":true}}"#
            )
        };
        let mut read = |numbers: std::ops::Range<usize>| {
            numbers.for_each(|number| assert!(arena.read(&trie, &text(number)).is_ok(), "{number}"));
            arena.automaton().map(|automaton| automaton.trust.credit)
        };
        assert_eq!(read(0..3), Some(CREDIT - 3), "another number of names each time");
        assert_eq!(read(0..100), Some(CREDIT - 3 + 100));
        // A value of another JSON type than before makes the others no less known.
        let mut read = |texts: &[&str]| {
            texts.iter().for_each(|text| assert!(arena.read(&trie, text).is_ok(), "{text}"));
            arena.automaton().map(|automaton| automaton.trust.credit)
        };
        let texts = [
            r#"{"id":"1"}"#,
            r#"{"id":[2]}"#,
            r#"{"id":2}"#,
            r#"{"id":{"a":1}}"#,
            r#"{"id":null}"#,
            r#"{"id":["1"]}"#,
            r#"{"x":"1"}"#,
            r#"{"x":[true]}"#,
            r#"{"x":2}"#,
            r#"{"x":false}"#,
        ];
        let before = read(&texts);
        assert_eq!(read(&texts), before.map(|credit| credit + 10));
    }

    #[test]
    fn a_text_that_joins_halves_of_known_ones_is_broken() {
        let trie = trie();
        for (known, broken) in [
            ([r#"{"id":["a"],"rank":1}"#, r#"{"id":"a","rank":1}"#], r#"{"id":"a"],"rank":1}"#),
            ([r#"{"id":["a"],"rank":1}"#, r#"{"id":"a","rank":1}"#], r#"{"id":["a","rank":1}"#),
            (
                [r#"{"name":[{"use":"a"}],"rank":1}"#, r#"{"name":{"use":"a"},"rank":1}"#],
                r#"{"name":[{"use":"a"},"rank":1}"#,
            ),
            (
                [r#"{"name":[{"use":"a"}],"rank":1}"#, r#"{"name":{"use":"a"},"rank":1}"#],
                r#"{"name":{"use":"a"}],"rank":1}"#,
            ),
            ([r#"{"other":"a","rank":1}"#, r#"{"name":{"other":"a"},"rank":1}"#], r#"{"other":"a"},"rank":1}"#),
            ([r#"{"rank":1}"#, r#"{"id":"a"}"#], r#"{"rank":1"#),
            ([r#"{"rank":1}"#, r#"{"id":"a"}"#], r#"{"rank":1}}"#),
            ([r#"{"rank":1}"#, r#"{"id":"a"}"#], r#"{"rank":1.}"#),
        ] {
            let mut arena = Arena::without_shapes();
            for text in known.repeat(2) {
                assert!(arena.read(&trie, text).is_ok());
            }
            assert!(arena.read(&trie, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_number_where_an_object_belongs_is_odd_however_well_the_object_is_known() {
        let (trie, mut arena) = (trie(), Arena::without_shapes());
        for text in [r#"{"whole":{"a":1}}"#, r#"{"whole":{}}"#, r#"{"whole":1}"#] {
            let mut thorough = Arena::default();
            arena.clear();
            assert_eq!(arena.read(&trie, text), thorough.read(&trie, text));
            assert_eq!(arena.told(), thorough.told(), "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_however_well_it_is_known() {
        let trie = trie();
        let mut known = [0, 0];
        for levels in 110..140 {
            let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let within = [
                format!(r#"{{"kept":{{"name":[{{"x":{deep}}}]}}}}"#),
                format!(r#"{{"other":{deep}}}"#),
                format!(r#"{{"leaf":[{{"x":{deep}}}]}}"#),
            ];
            let mut arena = Arena::without_shapes();
            let flat = within.each_ref().map(|text| text.replace(&deep, "[]"));
            for text in flat.into_iter().chain(within) {
                let expected = Arena::default().read(&trie, &text).is_ok();
                assert_eq!(arena.read(&trie, &text).is_ok(), expected, "{text}");
                known[usize::from(expected)] += 1;
            }
        }
        assert!(known[0] > 10 && known[1] > 100, "{known:?}");
    }

    #[test]
    fn keys_that_are_data_are_not_learned_without_end() {
        let trie = trie();
        let (mut automaton, mut quotes) = (Automaton::new(), Quotes::default());
        for number in 0..10_000 {
            let text = format!("{{\"key{number}\":\"x\",\"name\":{{\"key{number}\":\"x\"}}}}");
            quotes.find(text.as_bytes()).unwrap();
            automaton.learn(&trie, &text, &quotes);
        }
        assert!(automaton.gaps <= 4 * MOST_AFTER_ONE, "{}", automaton.gaps);
        let mut arena = Arena::without_shapes();
        let text = |number: u32| format!("{{\"other{number}\":1}}");
        (0..2 * CREDIT).for_each(|number| assert!(arena.read(&trie, &text(number)).is_ok()));
        assert!(arena.automaton().is_some_and(|automaton| automaton.trust.rest > 0), "it rests where it knows nothing");
        (0..2 * REST).for_each(|number| assert!(arena.read(&trie, &text(number % 2)).is_ok()));
        assert!(arena.automaton().is_some_and(|automaton| automaton.trust.rest == 0), "and tries again");
    }
}
