//! The reason why an operation failed, and what follows from it.
//!
//! Takes the error that an implementation of [`Kernel`](super::Kernel) got, and its text. Gives a kind that
//! says whether the kernel state is still known. The text is for operators; no decision depends on it.

use std::fmt;

/// The reason why an operation failed, or why its result is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    kind: CauseKind,
    text: String,
}

/// The kind of a [`Cause`], on which the next steps depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CauseKind {
    /// The kernel answered that it has not made the change. Its state is as before.
    Refused(Refusal),
    /// A kernel module or a program is missing. The kernel state is as before.
    Missing,
    /// The exchange failed, so that the result of the change is unknown.
    Unknown,
}

/// The kinds of refusals that the proxy answers in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The object exists already (`EEXIST`). This contradicts the cache.
    AlreadyThere,
    /// The object, or the one that it belongs to, does not exist (`ENOENT`, `ESRCH`, `ENODEV`). This
    /// contradicts the cache.
    NotThere,
    /// The kernel never takes a value like this (`EINVAL`).
    Invalid,
    /// There is no room, or no memory (`ENOMEM`, `ENOSPC`, a full set).
    NoRoom,
    /// Something else uses the object just now (`EBUSY`, `EAGAIN`, `EINTR`, a lock).
    Busy,
    /// Anything else.
    Other,
}

impl Cause {
    /// Makes a cause of this kind. The text says what the system said, with its error number if there is one.
    /// It also says what the operator can do about it, if that is known.
    pub fn of(kind: CauseKind, words: impl fmt::Display) -> Self {
        Self { kind, text: words.to_string() }
    }

    /// Makes a refusal of the kind [`Refusal::Other`].
    pub fn new(words: impl fmt::Display) -> Self {
        Self::of(CauseKind::Refused(Refusal::Other), words)
    }

    /// The kind of the cause.
    pub fn kind(&self) -> CauseKind {
        self.kind
    }

    /// True if the kernel state is unknown after this failure.
    pub fn leaves_state_unknown(&self) -> bool {
        self.kind == CauseKind::Unknown
    }

    /// True if the kernel's answer contradicts the cache.
    pub fn contradicts_cache(&self) -> bool {
        matches!(self.kind, CauseKind::Refused(Refusal::AlreadyThere | Refusal::NotThere))
    }
}
