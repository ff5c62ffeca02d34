//! The report of a run as a page for a browser.

/// The look of every page that this program makes: light and dark, on paper and on a phone.
pub const STYLE: &str = include_str!("style.css");
