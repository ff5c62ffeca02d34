//! TODO
pub mod archive;
pub mod durable;
pub mod error;
pub mod layout;
pub mod publish;
pub mod table;
pub use error::LakeError;
pub use layout::{Lake, Lock};
