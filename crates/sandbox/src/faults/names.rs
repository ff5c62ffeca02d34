//! Every fault with its name, the habit it plays and what it does.

use std::fmt;
use std::str::FromStr;

use super::nearest;
use crate::error::SandboxError;

macro_rules! faults {
    ($($variant:ident $name:literal $habit:literal $description:literal;)+) => {
        /// One habit of a badly behaved server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = concat!("`", $name, "`: ", $description)] $variant),+
        }

        impl Fault {
            /// Every fault, in the order of the habits.
            #[must_use]
            pub const fn all() -> &'static [Self] {
                &[$(Self::$variant),+]
            }

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What the server does, in one line.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description),+ }
            }

            /// The number of the habit in the project's table of habits of servers; 0 for those of Bulk Data servers.
            #[must_use]
            pub const fn habit(self) -> u8 {
                match self { $(Self::$variant => $habit),+ }
            }
        }
    };
}

#[rustfmt::skip]
faults! {
    RelativeNext "relative-next" 1 "next is relative to the request URL";
    RootRelativeNext "root-relative-next" 1 "next begins with / and lacks the base path, so that it leads nowhere";
    NextOutsideBase "next-outside-base" 1 "next has /fhirwrapper in front of the base path and leads nowhere without a rewrite";
    NextWithoutType "next-without-type" 1 "next lacks the resource type and leads nowhere without a rewrite";
    NextMalformed "next-malformed" 1 "next is just &search-offset=N, to be appended to the request URL";
    NextUnescaped "next-unescaped" 1 "next has unescaped spaces and pipes";
    NextOtherHost "next-other-host" 2 "next leads to another origin (localhost for 127.0.0.1 and vice versa) that answers";
    NextInternalHost "next-internal-host" 2 "next leads to the host fhir-internal.invalid:8080, with the same path";
    NextHttpScheme "next-http-scheme" 2 "next is http even where X-Forwarded-Proto says that the client came by https";
    NextPortDoubled "next-port-doubled" 2 "next repeats the port, as in host:443:443";
    RedirectSameHost "redirect-same-host" 2 "every seventh request is redirected (307) within the same origin";
    RedirectOtherHost "redirect-other-host" 2 "next pages are redirected (302) to another origin";
    CursorExpires "cursor-expires" 3 "at its third page a search is gone (410), once; started again it goes through";
    CursorAlwaysExpires "cursor-always-expires" 3 "at its fourth page every search is gone (404), each time";
    PageTwoDead "page-2-dead" 3 "every page but the first answers 500";
    NextRepeatsSelf "next-repeats-self" 4 "from the second page on next leads to the page itself";
    NextLoop "next-loop" 4 "the third page's next leads back to the second page";
    ServesEverythingAgain "serves-everything-again" 4 "the last page's next starts over, with a new URL each round";
    EmptyPageWithNext "empty-page-with-next" 5 "between two pages comes one with entry: [] and a next link";
    NoEntry "no-entry" 5 "between two pages comes one without entry and with a next link";
    EmptyLastPage "empty-last-page" 5 "after the last page comes an empty one";
    EndlessEmpty "endless-empty" 5 "after the last page come empty ones without end, each with its own URL";
    EmptyNowAndThen "empty-now-and-then" 5 "every fourth page is empty, and has neither a total nor a next link";
    EntryWithoutResource "entry-without-resource" 5 "each page has an entry without a resource, and a null";
    Overlap "overlap" 6 "each page begins with the last two entries of the page before";
    UnstableOrder "unstable-order" 6 "without _sort the order changes from page to page: rows come twice or never";
    VariantContent "variant-content" 7 "pages overlap, and a resource that comes again has other content";
    NoNext "no-next" 8 "no page has a next link";
    Cap100 "cap-100" 9 "a search gives 100 matches at most, and its total says so";
    Cap1000 "cap-1000" 9 "a search gives 1,000 matches at most, and its total says so";
    Cap10000 "cap-10000" 9 "a search gives 10,000 matches at most, and its total says so";
    Cap100TrueTotal "cap-100-true-total" 9 "a search gives 100 matches at most, while its total is the true one";
    CountCeiling100Empty "count-ceiling-100-empty" 10 "_count above 100 gives 200 with an empty Bundle of total 0";
    CountCeiling100Outcome "count-ceiling-100-outcome" 10 "_count above 100 gives 400 with an OperationOutcome: maximum allowed is 100";
    CountCeiling100Outcome200 "count-ceiling-100-outcome-200" 10 "_count above 100 gives 200 with an OperationOutcome instead of a Bundle";
    CountCeiling100Fewer "count-ceiling-100-fewer" 10 "_count above 100 gives 100 entries";
    CountIgnored "count-ignored" 10 "every page has 10 entries, whatever _count says";
    Unfiltered400 "unfiltered-400" 11 "a search without a filter gives 400";
    Unfiltered413 "unfiltered-413" 11 "a search without a filter gives 413, too costly";
    UnfilteredOutcome200 "unfiltered-outcome-200" 11 "a search without a filter gives 200 with an OperationOutcome";
    UnfilteredEvenByDate "unfiltered-even-by-date" 11 "a search without a filter other than _lastUpdated gives 400";
    TotalAbsent "total-absent" 12 "no total";
    TotalZero "total-zero" 12 "total is 0";
    TotalPageSize "total-page-size" 12 "total is the number of entries on the page";
    TotalDoubled "total-doubled" 12 "total is twice the truth";
    CountUnsupported "count-unsupported" 12 "_summary=count gives 400 and there is no total";
    CountSlow "count-slow" 12 "_summary=count takes a minute";
    TooMany429Seconds "429-seconds" 13 "every seventh request gives 429 with Retry-After: 1";
    TooMany429Date "429-date" 13 "every seventh request gives 429 with Retry-After as a date two seconds ahead";
    TooMany429ResetEpoch "429-reset-epoch" 13 "every seventh request gives 429 with X-RateLimit-Reset as seconds since 1970";
    TooMany429ResetDelta "429-reset-delta" 13 "every seventh request gives 429 with RateLimit-Reset: 1 and RateLimit-Remaining: 0";
    TooMany429Bare "429-bare" 13 "every seventh request gives 429 without a hint";
    TooMany429Long "429-long" 13 "from the fourth request on 429 with Retry-After: 7200";
    Quota403 "quota-403" 13 "every seventh request gives 403, quota exceeded, with Retry-After: 1";
    Unavailable503RetryAfter "503-retry-after" 13 "every seventh request gives 503 with Retry-After: 1";
    Unauthorized401Midway "401-midway" 14 "from the fourth request on 401";
    Forbidden403Midway "403-midway" 14 "from the fourth request on 403";
    Forbidden403Type "403-type" 14 "the first resource type of each API gives 403";
    ServerErrorsSome "5xx-some" 15 "every seventh request gives 500, 502, 503, 504 or 423 in turn";
    ServerErrorsAlways "5xx-always" 15 "from the fourth request on 500";
    ServerErrorsLargePages "5xx-large-pages" 15 "pages of more than 25 entries give 504";
    ResetMidBody "reset-mid-body" 15 "every seventh answer breaks off half way";
    TruncatedJson "truncated-json" 15 "every seventh answer is half a Bundle under a correct Content-Length";
    ShortBody "short-body" 15 "every seventh answer is shorter than its Content-Length";
    Trickle "trickle" 16 "every seventh answer comes in drops of 16 bytes a second";
    Hang "hang" 16 "every seventh request gets no byte";
    HugePage "huge-page" 17 "pages of more than 25 entries are padded to 24 MiB";
    GzipBomb "gzip-bomb" 17 "pages of more than 25 entries are gzip that unpacks to 256 MiB, for clients that accept gzip";
    Html200 "html-200" 18 "every seventh answer is an HTML page with 200";
    Login200 "login-200" 18 "from the fourth request on a login page with 200";
    Html401 "html-401" 18 "from the fourth request on an HTML page with 401";
    NotABundle "not-a-bundle" 18 "every seventh answer is JSON that is not FHIR, with 200";
    Bom "bom" 18 "every answer begins with a byte order mark";
    GzipUnannounced "gzip-unannounced" 18 "every page is gzip without Content-Encoding";
    OutcomeEntries "outcome-entries" 19 "each page ends with an OperationOutcome of mode outcome";
    IncludesUnasked "includes-unasked" 19 "each page carries resources of another type that nobody asked for, of mode include";
    ModeAbsent "mode-absent" 19 "entries have no search.mode";
    MissingId "missing-id" 20 "one in seventeen resources has no id";
    InvalidUtf8 "invalid-utf8" 20 "one in seventeen resources has a byte that is not UTF-8";
    LoneSurrogate "lone-surrogate" 20 "one in seventeen resources has half a surrogate pair";
    DuplicateKeys "duplicate-keys" 20 "one in seventeen resources has a key twice";
    BigNumbers "big-numbers" 20 "one in seventeen resources has numbers beyond double";
    BadFields "bad-fields" 21 "one in five resources has strings, nulls and objects where they do not belong";
    PickyAccept "picky-accept" 22 "Accept without application/json or */* gives 406";
    WrongContentType "wrong-content-type" 22 "answers are labelled text/plain";
    Type404 "type-404" 23 "the first resource type of each API gives 404";
    Type501 "type-501" 23 "the first resource type of each API gives 501";
    MetadataMissing "metadata-missing" 23 "no CapabilityStatement: 404";
    MetadataHtml "metadata-html" 23 "the CapabilityStatement is an HTML page";
    MetadataLies "metadata-lies" 23 "the CapabilityStatement names a type that is not there and hides one that is";
    IgnoresFilters "ignores-filters" 24 "every filter is ignored in silence";
    IgnoresSort "ignores-sort" 24 "_sort is ignored in silence";
    IgnoresLastUpdated "ignores-lastupdated" 25 "_lastUpdated is ignored in silence";
    NoLastUpdated "no-lastupdated" 25 "resources have no meta.lastUpdated, and no date finds them";
    ExportStamps "export-stamps" 25 "every resource carries the same meta.lastUpdated, that of an export";
    Token15Minutes "token-15-minutes" 26 "tokens from /oauth/token are needed and live for 15 minutes";
    Token5Requests "token-5-requests" 26 "tokens from /oauth/token are needed and live for 5 requests";
    HostLimit "host-limit" 27 "more than 5 requests in a second, over all APIs, give 429 with Retry-After: 1";
    Shrinks "shrinks" 28 "a row disappears between any two pages, and the total with it";
    Grows "grows" 28 "a row appears in front between any two of the first pages, and the total grows";
    BulkUnsupported "bulk-unsupported" 0 "$export gives 404";
    BulkSlow "bulk-slow" 0 "an export takes five polls more";
    Bulk429 "bulk-429" 0 "every other poll gives 429 with Retry-After: 1";
    BulkFails "bulk-fails" 0 "the export fails: the status gives 500 with an OperationOutcome";
    BulkOtherHost "bulk-other-host" 0 "output files are on another origin";
    BulkOtherHostNoToken "bulk-other-host-no-token" 0 "output files are on another origin and refuse requests with credentials (requiresAccessToken false)";
    BulkRelativeUrls "bulk-relative-urls" 0 "the URLs of the manifest and of Content-Location are relative";
    BulkOddManifest "bulk-odd-manifest" 0 "transactionTime is 05/09/2022 23:01, error is an object, and an output file is empty";
    BulkDeleted "bulk-deleted" 0 "the manifest names a deleted file with a Bundle of the first resource of each type";
    BulkExpires "bulk-expires" 0 "after its first download the export is gone (404), once; started again it goes through";
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = SandboxError;

    fn from_str(name: &str) -> Result<Self, SandboxError> {
        Self::all().iter().copied().find(|fault| fault.name() == name).ok_or_else(|| SandboxError::UnknownFault {
            name: name.to_owned(),
            nearest: nearest(name, Self::all().iter().map(|fault| fault.name())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_faults_and_cover_every_habit() {
        for fault in Fault::all() {
            assert_eq!(fault.name().parse::<Fault>().ok(), Some(*fault));
        }
        for habit in 1..=28 {
            assert!(Fault::all().iter().any(|fault| fault.habit() == habit), "habit {habit} has no fault");
        }
        let error = "next-lop".parse::<Fault>().map_err(|error| error.to_string());
        assert!(error.is_err_and(|message| message.contains("next-loop")));
    }
}
