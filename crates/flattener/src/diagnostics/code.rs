//! The codes of mistakes in views. Each has a page in `docs/views/`.

use super::Severity;

macro_rules! codes {
    ($($name:ident $text:literal $severity:ident $summary:literal,)*) => {
        /// What is wrong, by a name that stays the same.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $summary] $name,)*
        }

        impl Code {
            /// All codes, by name.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name: `unknown-function`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }

            /// How bad it mostly is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    AmbiguousType "ambiguous-type" Error "Nothing tells the type of the value.",
    BadArgument "bad-argument" Error "The function cannot take this argument.",
    BadConstant "bad-constant" Error "The value of a constant is not of its type.",
    BadIndex "bad-index" Error "This is no index.",
    BadName "bad-name" Error "This is no name for a table, a column or a constant.",
    BadNumber "bad-number" Error "The number has too many digits.",
    BadPath "bad-path" Error "The path is no FHIRPath.",
    BadPattern "bad-pattern" Error "This is no regular expression.",
    BadType "bad-type" Error "There is no such SQL type.",
    ChoiceName "choice-name" Warning "The path has the name that an element has in JSON.",
    CollectionMissing "collection-missing" Warning "The path may give several values, the column takes one.",
    EmptyRepeat "empty-repeat" Error "`repeat` has no path.",
    EmptySelect "empty-select" Warning "A select has no columns.",
    ImpossibleType "impossible-type" Warning "R4's element is never of this type.",
    MissingKey "missing-key" Error "A required key is missing.",
    MissingName "missing-name" Warning "The view has no name.",
    MissingResource "missing-resource" Error "`resource` is missing.",
    MissingSelect "missing-select" Error "`select` is missing or empty.",
    MixedResources "mixed-resources" Error "Views of several resource types are compiled together.",
    NeverEqual "never-equal" Warning "These values are never equal.",
    NoColumns "no-columns" Error "The view has no columns.",
    NotABoolean "not-a-boolean" Error "`true` or `false` has to stand here.",
    NotAList "not-a-list" Error "A list has to stand here.",
    NotAString "not-a-string" Error "A text has to stand here.",
    NotAView "not-a-view" Error "The resource is no ViewDefinition.",
    NotAnObject "not-an-object" Error "An object has to stand here.",
    NotAvailable "not-available" Error "FHIRPath has this, views have not.",
    NotJson "not-json" Error "The file is no JSON.",
    SameButForCase "same-but-for-case" Warning "Two columns differ in capitals only.",
    SeveralValues "several-values" Warning "A function of one value stands behind several.",
    TooDeep "too-deep" Error "Too many selects within each other.",
    Twice "twice" Error "The same name is there twice.",
    TwoIterations "two-iterations" Error "A select has more than one of `forEach`, `forEachOrNull` and `repeat`.",
    TypeDiffers "type-differs" Warning "The column's `type` is not that of its values.",
    UnionDiffers "union-differs" Error "The branches of `unionAll` differ.",
    UnknownConstant "unknown-constant" Error "There is no such constant.",
    UnknownElement "unknown-element" Warning "R4 has no such element.",
    UnknownFunction "unknown-function" Error "There is no such function.",
    UnknownKey "unknown-key" Error "There is no such key.",
    UnknownResource "unknown-resource" Warning "R4 has no such resource type.",
    UnknownType "unknown-type" Error "There is no such FHIR type.",
    UnusedConstant "unused-constant" Warning "No path uses this constant.",
    WhereNotBoolean "where-not-boolean" Error "The condition is neither true nor false.",
    WrongArguments "wrong-arguments" Error "The function takes another number of arguments.",
    WrongInput "wrong-input" Error "The function or operator can never take these values.",
}
