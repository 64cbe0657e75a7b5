//! Why something did not work, as far as it decides what happens next.
//!
//! Takes what an implementation of [`Kernel`](super::Kernel) found out and the words for it. Gives a kind that
//! decides whether the state of the kernel is still known. The words are for operators; nothing is decided by them.

use std::fmt;

/// Why the system refused, or why nobody knows whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    kind: CauseKind,
    text: String,
}

/// What follows from a [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CauseKind {
    /// The kernel answered that it has not made the change. What it holds is as it was.
    Refused(Refusal),
    /// A kernel module or a program is missing. What the kernel holds is as it was.
    Missing,
    /// The exchange itself failed: whether the change was made is unknown.
    Unknown,
}

/// The kinds of refusals that are met in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The object is there already (`EEXIST`): the kernel is not as believed.
    AlreadyThere,
    /// The object, or the one that it belongs to, is not there (`ENOENT`, `ESRCH`, `ENODEV`): the kernel is not as
    /// believed.
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
    /// A cause of this kind, in words for an operator: what the system said, with its error number where there is
    /// one, and what to do about it where that is known.
    pub fn of(kind: CauseKind, words: impl fmt::Display) -> Self {
        Self { kind, text: words.to_string() }
    }

    /// A refusal of no particular kind.
    pub fn new(words: impl fmt::Display) -> Self {
        Self::of(CauseKind::Refused(Refusal::Other), words)
    }

    /// What follows from it.
    pub fn kind(&self) -> CauseKind {
        self.kind
    }

    /// True if nobody knows what the kernel holds now.
    pub fn leaves_state_unknown(&self) -> bool {
        self.kind == CauseKind::Unknown
    }

    /// True if the kernel's answer shows that it is not as believed.
    pub fn contradicts_belief(&self) -> bool {
        matches!(self.kind, CauseKind::Refused(Refusal::AlreadyThere | Refusal::NotThere))
    }
}
