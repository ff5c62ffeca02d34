//! Any bytes as a page: entries are JSON objects and never more than the page has places.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(page) = fhirvest_fhir::bundle::scan(body) else { return };
    assert!(page.entries.len() <= page.entry_slots.max(1));
    for entry in &page.entries {
        let _ = format!("{entry:?}");
    }
});
