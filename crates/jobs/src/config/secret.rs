//! Secrets by reference: a configuration file says where a secret is, never what it is.

use std::{env, fs, path::PathBuf, process::Command};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable: `{ env = "HIGHMARK_API_KEY" }`.
    Env(String),
    /// A file whose text, without the trailing line break, is the secret: `{ file = "/run/secrets/key" }`.
    File(PathBuf),
    /// A program whose standard output, without the trailing line break, is the secret:
    /// `{ command = ["pass", "show", "highmark"] }`.
    Command(Vec<String>),
}

/// Why a secret could not be had. Never holds any part of one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("the environment variable {name} is not set: export {name}=… and run again")]
    MissingVariable {
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("the secret file {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program cannot be started.
    #[error("the secret command {program:?} cannot be started")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program failed; its output is not shown, since it may hold the secret.
    #[error("the secret command {program:?} failed with {status}: run it by hand to see why")]
    CommandFailed {
        /// The program, without its arguments.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Nothing is there, or not text.
    #[error("the secret from {origin} is empty or not UTF-8 text")]
    Empty {
        /// Where it was looked for.
        origin: String,
    },
}

impl SecretRef {
    /// Fetches the secret.
    ///
    /// # Errors
    /// [`SecretError`] names the place that was looked at, never what was found there.
    pub fn resolve(&self) -> Result<SecretString, SecretError> {
        let (text, origin) = match self {
            Self::Env(name) => {
                let value = env::var(name).map_err(|_| SecretError::MissingVariable { name: name.clone() })?;
                if value.trim().is_empty() {
                    return Err(SecretError::MissingVariable { name: name.clone() });
                }
                (value, name.clone())
            }
            Self::File(path) => {
                let text =
                    fs::read_to_string(path).map_err(|source| SecretError::File { path: path.clone(), source })?;
                (text, path.display().to_string())
            }
            Self::Command(words) => {
                let Some((program, arguments)) = words.split_first() else {
                    return Err(SecretError::Empty { origin: "an empty command".into() });
                };
                let output = Command::new(program)
                    .args(arguments)
                    .output()
                    .map_err(|source| SecretError::Command { program: program.clone(), source })?;
                if !output.status.success() {
                    return Err(SecretError::CommandFailed { program: program.clone(), status: output.status });
                }
                let text = String::from_utf8(output.stdout)
                    .map_err(|_| SecretError::Empty { origin: format!("the command {program:?}") })?;
                (text, format!("the command {program:?}"))
            }
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.trim().is_empty() {
            return Err(SecretError::Empty { origin });
        }
        Ok(SecretString::from(secret.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_and_a_command_lose_only_their_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, " s3cret \n").unwrap();
        assert_eq!(SecretRef::File(path).resolve().unwrap().expose_secret(), " s3cret ");
        let command = SecretRef::Command(vec!["printf".into(), "abc\\n".into()]);
        assert_eq!(command.resolve().unwrap().expose_secret(), "abc");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let missing = SecretRef::Env("FHIRVEST_TEST_NO_SUCH_VARIABLE".into()).resolve().unwrap_err();
        assert!(missing.to_string().contains("FHIRVEST_TEST_NO_SUCH_VARIABLE"));
        let failed = SecretRef::Command(vec!["sh".into(), "-c".into(), "echo hidden; exit 3".into()]);
        assert!(!failed.resolve().unwrap_err().to_string().contains("hidden"));
    }
}
