//! The messages of an exchange: a request to the kernel and a reply from it.
//!
//! Both are a message type and a payload. The netlink header around them (length, sequence number, port)
//! belongs to the exchange, and callers never see it.

/// A message to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The message type (`nlmsg_type`): for example `RTM_NEWADDR`, a generic-netlink family id, or
    /// `(subsystem << 8) | command` of nfnetlink.
    pub kind: u16,
    /// Flags (`nlmsg_flags`) such as `NLM_F_CREATE` and `NLM_F_EXCL`. `NLM_F_REQUEST` is implied, and the
    /// exchange adds `NLM_F_ACK` and `NLM_F_DUMP` where they are needed.
    pub flags: u16,
    /// Everything after the netlink header: the family's own header and the attributes.
    pub payload: Vec<u8>,
}

/// A message from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message type (`nlmsg_type`).
    pub kind: u16,
    /// Everything after the netlink header.
    pub payload: Vec<u8>,
}

/// A message from the kernel that borrows from the socket's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyRef<'a> {
    /// The message type (`nlmsg_type`).
    pub kind: u16,
    /// Everything after the netlink header.
    pub payload: &'a [u8],
}

impl<'a> From<&'a Reply> for ReplyRef<'a> {
    fn from(reply: &'a Reply) -> Self {
        ReplyRef { kind: reply.kind, payload: &reply.payload }
    }
}

impl From<ReplyRef<'_>> for Reply {
    fn from(reply: ReplyRef<'_>) -> Self {
        Reply { kind: reply.kind, payload: reply.payload.to_vec() }
    }
}
