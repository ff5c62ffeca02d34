//! What can go wrong before the sandbox answers its first request.

use std::path::PathBuf;

/// Why a sandbox could not be built or could not serve. Every message names the place and the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A file or folder of the caller's own data could not be read.
    #[error("cannot read {}: {source}; give --data a folder of NDJSON files (.ndjson, .ndjson.gz, .ndjson.zst)", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system or the decompressor said.
        #[source]
        source: std::io::Error,
    },
    /// A line of the caller's own data is not a resource that a FHIR server could hold.
    #[error("{}:{line}: {reason}; each line must be one JSON resource with resourceType and id", path.display())]
    Resource {
        /// The file.
        path: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder holds no NDJSON file with a resource in it.
    #[error("no resources found in {}: it needs files named *.ndjson, *.ndjson.gz or *.ndjson.zst", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// More text or rows than the in-memory index addresses.
    #[error("too much data of type {resource_type} for the sandbox: more than {limit} resources")]
    TooLarge {
        /// The resource type.
        resource_type: String,
        /// The number of rows one type can have.
        limit: u32,
    },
    /// The key that signs tokens could not be made.
    #[error("the sandbox's signing key cannot be made: this machine gives no random numbers")]
    Keys,
    /// What was given as a client's key set is none.
    #[error("the key set cannot be read: {reason}; it needs to be a JSON Web Key Set (RFC 7517) of public keys")]
    KeySet {
        /// What the parser said.
        reason: String,
    },
    /// A fault was asked for by a name that does not exist.
    #[error("unknown fault `{name}`{}; `fhirvest sandbox --help` lists them all", hint(nearest.as_deref()))]
    UnknownFault {
        /// The name as given.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// A platform was asked for by a name that does not exist.
    #[error("unknown platform `{name}`{}; known platforms: {known}", hint(nearest.as_deref()))]
    UnknownPlatform {
        /// The name as given.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
        /// All names, separated by spaces.
        known: String,
    },
    /// The listener failed while serving.
    #[error("the sandbox stopped serving: {source}; check that the address is still free and reachable")]
    Serve {
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
