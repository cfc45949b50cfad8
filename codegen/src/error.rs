//! One error type for everything that can be wrong with a model or a build.

use std::path::PathBuf;

/// What is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not a grano model.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A tensor is missing, or does not fit the graph.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// The tensor's name in the file.
        name: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A node of the graph cannot be used as it is.
    #[error("node `{name}`: {reason}")]
    Node {
        /// The node's name.
        name: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The model as a whole, or what a build asks of it, does not hold together.
    #[error("{0}")]
    Model(String),
}

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn node(name: &str, reason: impl Into<String>) -> Self {
        Self::Node { name: name.into(), reason: reason.into() }
    }

    pub(crate) fn tensor(name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), reason: reason.into() }
    }

    pub(crate) fn file(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
