//! The netlink header around a message: encoder and decoder.
//!
//! Takes requests and gives bytes. Takes a datagram from the kernel and gives an iterator of [`Message`]s
//! that borrow from it, and the [`KernelError`] inside an error message. Does not panic on a short or wrong
//! length.
//!
//! Lengths, flags and error messages follow `include/uapi/linux/netlink.h`. The layout of an error message
//! follows `net/netlink/af_netlink.c: netlink_ack`.

use netlink_packet_core::{
    DecodeError, NLM_F_ACK_TLVS, NLM_F_CAPPED, NetlinkBuffer, parse_i32, parse_u32,
};

use crate::{KernelError, Request, attribute::Attributes};

pub(crate) const HEADER: usize = 16;

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
// Callers do not get NLMSGERR_ATTR_COOKIE 3, _POLICY 4, _MISS_TYPE 5 and _MISS_NEST 6.

/// Appends `request` with its header, padded to the alignment of the next message.
pub(crate) fn append(buffer: &mut Vec<u8>, request: &Request, flags: u16, sequence: u32) {
    let mut bytes = [0; HEADER];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(u32::try_from(HEADER + request.payload.len()).unwrap_or(u32::MAX));
    header.set_message_type(request.kind);
    header.set_flags(request.flags | flags);
    header.set_sequence_number(sequence);
    buffer.extend_from_slice(&bytes);
    buffer.extend_from_slice(&request.payload);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

/// Returns the size of `request` on the wire in bytes.
pub(crate) fn framed_len(request: &Request) -> usize {
    HEADER + request.payload.len().next_multiple_of(4)
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

/// Returns the messages of one datagram; ends after the first malformed one.
pub(crate) fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(NetlinkBuffer::new_checked(rest).map(|buffer| {
            let length = buffer.length() as usize;
            self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Message {
                kind: buffer.message_type(),
                flags: buffer.flags(),
                sequence: buffer.sequence_number(),
                port: buffer.port_number(),
                payload: rest.get(HEADER..length).unwrap_or_default(),
            }
        }))
    }
}

impl Message<'_> {
    /// Reads an `NLMSG_ERROR`: the error number, the header of the request, its payload unless capped, then
    /// attributes. Error number zero is an acknowledgement and gives `None`.
    pub(crate) fn error(&self) -> Result<Option<KernelError>, DecodeError> {
        let (errno, rest) = split_errno(self.payload)?;
        if errno == 0 {
            return Ok(None);
        }
        let Some((request, rest)) = rest.split_at_checked(HEADER) else {
            return Err(DecodeError::invalid_buffer("NLMSG_ERROR", self.payload.len(), 4 + HEADER));
        };
        let echoed = if self.flags & NLM_F_CAPPED == 0 {
            let length = parse_u32(request.get(..4).unwrap_or_default())? as usize;
            length.saturating_sub(HEADER)
        } else {
            0
        };
        let echo = rest
            .get(..echoed)
            .ok_or_else(|| DecodeError::invalid_buffer("echoed request", rest.len(), echoed))?;
        let attributes = rest.get(echoed.next_multiple_of(4)..).unwrap_or_default();
        self.explain(
            KernelError { errno, echo: echo.to_vec(), ..KernelError::default() },
            attributes,
        )
        .map(Some)
    }

    /// Reads an `NLMSG_DONE`: the result of the dump, then attributes. Old kernels' shortest form has no
    /// result, which means success.
    pub(crate) fn done(&self) -> Result<Option<KernelError>, DecodeError> {
        if self.payload.is_empty() {
            return Ok(None);
        }
        let (errno, attributes) = split_errno(self.payload)?;
        if errno == 0 {
            return Ok(None);
        }
        self.explain(KernelError { errno, ..KernelError::default() }, attributes).map(Some)
    }

    fn explain(
        &self,
        mut error: KernelError,
        attributes: &[u8],
    ) -> Result<KernelError, DecodeError> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return Ok(error);
        }
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                NLMSGERR_ATTR_MSG => error.message = Some(attribute.string_lossy()),
                NLMSGERR_ATTR_OFFS => error.offset = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(error)
    }
}

/// Splits off the leading error number and makes it positive. Returns zero, which is success, also for the
/// harmless positive result codes that some dumps leave in `NLMSG_DONE`.
fn split_errno(payload: &[u8]) -> Result<(i32, &[u8]), DecodeError> {
    let Some((code, rest)) = payload.split_at_checked(4) else {
        return Err(DecodeError::invalid_buffer("netlink result code", payload.len(), 4));
    };
    Ok((parse_i32(code)?.saturating_neg().max(0), rest))
}

#[cfg(test)]
mod tests;
