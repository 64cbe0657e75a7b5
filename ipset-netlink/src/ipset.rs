//! The socket: sends commands and waits for the answers.
//!
//! Takes sets and elements. Gives success, or an [`Error`] with command, set and reason; for elements, gives
//! each refused one. Adds or deletes any number of elements in at most two rounds.

use netlink_batch::{Echo, KernelError, Options, Reply, Request, Socket, attribute::EncodeError};

use crate::{
    Entry, Error, Family, Header, Operation, Reason, Refused, Repeat, Set, SetName, SetSpec,
    SetType,
    message::{Detail, Dialect, ENTRIES_PER_MESSAGE, Edit},
    reply,
};

/// The sets of one network namespace, in which the thread was at [`Ipset::open`].
#[derive(Debug)]
pub struct Ipset {
    socket: Socket,
    dialect: Dialect,
    /// The negotiated revision for creating sets, by type and family.
    revisions: Vec<((SetType, Family), u8)>,
}

impl Ipset {
    /// Opens a socket and agrees with the kernel on a protocol version. That makes the kernel load `ip_set`
    /// if it can.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::Unsupported`] if the kernel has no ipset, [`Reason::NotPermitted`] without
    /// `CAP_NET_ADMIN`, [`Reason::UnknownProtocol`], or a failure of the socket.
    pub fn open() -> Result<Self, Error> {
        let failed = Error::of(Operation::Open, None);
        // The kernel puts the number of a refused element into the request that it sends back.
        let options = Options { echo: Echo::WholeRequest, ..Options::default() };
        let socket = Socket::open_with(netlink_batch::Family::Netfilter, options)
            .map_err(|error| failed(error.into()))?;
        let mut ipset = Ipset { socket, dialect: Dialect::NEWEST, revisions: Vec::new() };
        ipset.dialect = ipset.negotiate().map_err(failed)?;
        Ok(ipset)
    }

    /// Creates a set.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::SetExists`] if a set of this name exists: always if it differs in type, family,
    /// capacity or range, else with [`Repeat::Refuse`]. Returns [`Reason::UnknownType`] if the kernel lacks
    /// the type.
    pub fn create(&mut self, spec: &SetSpec, repeat: Repeat) -> Result<(), Error> {
        let failed = Error::of(Operation::Create, Some(spec.name));
        let revision =
            self.revision(spec).map_err(Error::of(Operation::QueryType, Some(spec.name)))?;
        let request = self.dialect.create(spec, revision, repeat);
        self.send_command(Operation::Create, Some(spec.kind), request).map_err(&failed)?;
        match repeat {
            // The kernel compares sizes but not families (`ip_set_core.c: ip_set_create`).
            Repeat::Accept if !spec.matches(&self.header(&spec.name)?) => {
                Err(failed(Reason::SetExists))
            }
            Repeat::Accept | Repeat::Refuse => Ok(()),
        }
    }

    /// Adds elements. Returns those that the kernel refused, in no particular order. All others are in the
    /// set.
    ///
    /// # Errors
    ///
    /// Returns an error if the command failed as a whole, for example [`Reason::NoSuchSet`]. If the set is
    /// deleted meanwhile, some elements may have been added.
    pub fn add(
        &mut self,
        set: &SetName,
        entries: &[Entry],
        repeat: Repeat,
    ) -> Result<Vec<Refused>, Error> {
        self.edit(Edit::Add, set, entries, repeat).map_err(Error::of(Operation::Add, Some(*set)))
    }

    /// Deletes elements. Returns those that the kernel refused, in no particular order. All others are gone.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Ipset::add`].
    pub fn delete(
        &mut self,
        set: &SetName,
        entries: &[Entry],
        repeat: Repeat,
    ) -> Result<Vec<Refused>, Error> {
        self.edit(Edit::Delete, set, entries, repeat)
            .map_err(Error::of(Operation::Delete, Some(*set)))
    }

    /// Returns one set with its elements.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NoSuchSet`], or a failure of the exchange.
    pub fn list(&mut self, set: &SetName) -> Result<Set, Error> {
        self.sets(Some(set), Detail::Elements)?.pop().ok_or_else(|| missing(*set))
    }

    /// Returns all sets with their elements.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NotPermitted`], or a failure of the exchange.
    pub fn list_all(&mut self) -> Result<Vec<Set>, Error> {
        self.sets(None, Detail::Elements)
    }

    /// Returns one set without its elements.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Ipset::list`].
    pub fn header(&mut self, set: &SetName) -> Result<Header, Error> {
        let bare = self.sets(Some(set), Detail::Headers)?.pop();
        bare.map(|set| set.header).ok_or_else(|| missing(*set))
    }

    /// Returns the names of all sets.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Ipset::list_all`].
    pub fn names(&mut self) -> Result<Vec<SetName>, Error> {
        self.dump(None, Detail::Names)
            .and_then(|replies| Ok(reply::names(payloads(&replies))?))
            .map_err(Error::of(Operation::List, None))
    }

    /// Swaps the contents of two sets of the same type and family, in one step. Rules keep referring to the
    /// same name.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NoSuchSet`] or [`Reason::TypeMismatch`]. Returns [`Reason::InUse`] while one of the
    /// two is being listed; a later attempt succeeds.
    pub fn swap(&mut self, set: &SetName, other: &SetName) -> Result<(), Error> {
        self.set_command(Operation::Swap, set, self.dialect.swap(set, other))
    }

    /// Renames a set.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NoSuchSet`], [`Reason::InUse`], or [`Reason::SetExists`] if the new name is taken.
    pub fn rename(&mut self, set: &SetName, new: &SetName) -> Result<(), Error> {
        self.set_command(Operation::Rename, set, self.dialect.rename(set, new))
    }

    /// Destroys a set.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NoSuchSet`], or [`Reason::InUse`] while a rule or another set refers to the set.
    pub fn destroy(&mut self, set: &SetName) -> Result<(), Error> {
        self.set_command(Operation::Destroy, set, self.dialect.destroy(set))
    }

    /// Removes all elements of a set.
    ///
    /// # Errors
    ///
    /// Returns [`Reason::NoSuchSet`].
    pub fn flush(&mut self, set: &SetName) -> Result<(), Error> {
        self.set_command(Operation::Flush, set, self.dialect.flush(set))
    }

    fn negotiate(&mut self) -> Result<Dialect, Reason> {
        let answer = self.ask(Operation::Open, None, self.dialect.ask_protocol())?;
        Dialect::shared(reply::protocols(&answer)?)
    }

    /// Returns the newest revision of a type that both the kernel and this crate know. Asks the
    /// kernel once for each type and family.
    fn revision(&mut self, spec: &SetSpec) -> Result<u8, Reason> {
        let key = (spec.kind, spec.family);
        if let Some((_, revision)) = self.revisions.iter().find(|(known, _)| *known == key) {
            return Ok(*revision);
        }
        let question = self.dialect.ask_type(spec);
        let answer = self.ask(Operation::QueryType, Some(spec.kind), question)?;
        let revision = spec.kind.shared_revision(reply::revisions(&answer)?)?;
        self.revisions.push((key, revision));
        Ok(revision)
    }

    /// Adds or deletes elements in two rounds. The first sends all elements in full messages. The second
    /// sends, one to a message, those after a refused element in its message, which the kernel has not
    /// processed.
    fn edit(
        &mut self,
        edit: Edit,
        set: &SetName,
        entries: &[Entry],
        repeat: Repeat,
    ) -> Result<Vec<Refused>, Reason> {
        let packed: Vec<&[Entry]> = entries.chunks(ENTRIES_PER_MESSAGE).collect();
        let (mut refused, unseen) = self.round(edit, set, &packed, repeat)?;
        let single: Vec<&[Entry]> = unseen.iter().flat_map(|rest| rest.chunks(1)).collect();
        let (again, _) = self.round(edit, set, &single, repeat)?;
        refused.extend(again);
        Ok(refused)
    }

    /// Sends one message for each chunk. Returns the refused elements, and the rest of the chunk after each
    /// of them.
    fn round<'a>(
        &mut self,
        edit: Edit,
        set: &SetName,
        chunks: &[&'a [Entry]],
        repeat: Repeat,
    ) -> Result<(Vec<Refused>, Vec<&'a [Entry]>), Reason> {
        let request = |chunk: &&[Entry]| self.dialect.edit(edit, set, chunk, repeat);
        let requests = chunks.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let (mut refused, mut unseen) = (Vec::new(), Vec::new());
        for (chunk, result) in chunks.iter().zip(self.socket.batch(&requests)?) {
            let Err(error) = result else { continue };
            let line = reply::refused_line(&error.echo).unwrap_or(0) as usize;
            let at_line = line.checked_sub(1).and_then(|before| chunk.get(before..)?.split_first());
            let Some((entry, rest)) = at_line else {
                return Err(edit_reason(edit, chunk.first(), error));
            };
            refused.push(Refused { entry: *entry, reason: edit_reason(edit, Some(entry), error) });
            unseen.push(rest);
        }
        Ok((refused, unseen))
    }

    fn set_command(
        &mut self,
        operation: Operation,
        set: &SetName,
        request: Result<Request, EncodeError>,
    ) -> Result<(), Error> {
        self.send_command(operation, None, request).map_err(Error::of(operation, Some(*set)))
    }

    /// Sends one request that changes sets. Returns the reason if the kernel refuses it. `kind` is the type of the
    /// set if it is known, because it decides the meaning of some error numbers.
    fn send_command(
        &mut self,
        operation: Operation,
        kind: Option<SetType>,
        request: Result<Request, EncodeError>,
    ) -> Result<(), Reason> {
        let results = self.socket.batch(&[request?])?;
        let error = results.into_iter().find_map(Result::err);
        error.map_or(Ok(()), |error| Err(Reason::of(operation, kind, error)))
    }

    /// Sends a request and returns the single message that answers it.
    fn ask(
        &mut self,
        operation: Operation,
        kind: Option<SetType>,
        question: Result<Request, EncodeError>,
    ) -> Result<Vec<u8>, Reason> {
        let answers =
            self.socket.ask(&question?).map_err(|error| failure(operation, kind, error))?;
        Ok(answers.into_iter().next().map(|answer| answer.payload).unwrap_or_default())
    }

    fn sets(&mut self, set: Option<&SetName>, detail: Detail) -> Result<Vec<Set>, Error> {
        self.dump(set, detail)
            .and_then(|replies| Ok(reply::sets(payloads(&replies))?))
            .map_err(Error::of(Operation::List, set.copied()))
    }

    fn dump(&mut self, set: Option<&SetName>, detail: Detail) -> Result<Vec<Reply>, Reason> {
        let request = self.dialect.list(set, detail)?;
        self.socket.dump(&request).map_err(|error| failure(Operation::List, None, error))
    }
}

fn payloads(replies: &[Reply]) -> impl Iterator<Item = &[u8]> {
    replies.iter().map(|reply| reply.payload.as_slice())
}

/// Returns the reason why a request or dump failed.
fn failure(operation: Operation, kind: Option<SetType>, error: netlink_batch::Error) -> Reason {
    match error {
        netlink_batch::Error::Kernel(error) => Reason::of(operation, kind, error),
        error => Reason::Transport(error),
    }
}

fn missing(set: SetName) -> Error {
    Error::of(Operation::List, Some(set))(Reason::NoSuchSet)
}

/// Returns the reason of a refusal. The type of the entry is the type of the set, because otherwise the
/// kernel would return [`Reason::DoesNotFit`].
fn edit_reason(edit: Edit, entry: Option<&Entry>, error: KernelError) -> Reason {
    let operation = match edit {
        Edit::Add => Operation::Add,
        Edit::Delete => Operation::Delete,
    };
    Reason::of(operation, entry.map(Entry::kind), error)
}
