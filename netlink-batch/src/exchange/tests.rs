//! Tests of exchanges over a scripted wire: each test contains the kernel's answers.

use std::collections::VecDeque;

use super::*;

const PORT: u32 = 77;
const EAGAIN: i32 = 11;
const ENODEV: i32 = 19;
const EEXIST: i32 = 17;

/// The result of the next `receive`. Sequence numbers in datagrams are relative to the first request of the
/// send before.
enum Event {
    Datagram(Vec<Answer>),
    Truncated,
    Errno(i32),
}

#[derive(Clone)]
struct Answer {
    kind: u16,
    flags: u16,
    offset: u32,
    port: u32,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Script {
    /// One list of events for every send; events that are left over stay for the next send.
    plays: VecDeque<Vec<Event>>,
    queue: VecDeque<Event>,
    sent: Vec<Vec<u8>>,
    first: u32,
}

impl Wire for Script {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.first = frame::messages(datagram).next().unwrap().unwrap().sequence;
        self.sent.push(datagram.to_vec());
        self.queue.extend(self.plays.pop_front().unwrap_or_default());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Wait) -> io::Result<Received> {
        match self.queue.pop_front() {
            None => Err(io::Error::from_raw_os_error(EAGAIN)),
            Some(Event::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Event::Truncated) => Ok(Received::Truncated(1 << 20)),
            Some(Event::Datagram(answers)) => {
                let mut bytes = Vec::new();
                for answer in answers {
                    let request =
                        Request { kind: answer.kind, flags: answer.flags, payload: answer.payload };
                    let start = bytes.len();
                    let sequence = self.first.wrapping_add(answer.offset);
                    frame::append(&mut bytes, &request, 0, sequence);
                    bytes[start + 12..start + 16].copy_from_slice(&answer.port.to_ne_bytes());
                }
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(Received::Whole(bytes.len()))
            }
        }
    }
}

fn exchange(plays: Vec<Vec<Event>>) -> Exchange<Script> {
    let echo = Echo::HeaderOnly;
    let granted = Granted { port: PORT, echo, send_buffer: 1 << 20, receive_buffer: 1 << 20 };
    let script = Script { plays: plays.into(), ..Script::default() };
    Exchange::new(script, granted, Options::default())
}

fn error(offset: u32, errno: i32) -> Answer {
    let mut payload = (-errno).to_ne_bytes().to_vec();
    payload.extend_from_slice(&[0; frame::HEADER]);
    Answer { kind: NLMSG_ERROR, flags: 0x100, offset, port: PORT, payload }
}

fn reply(payload: u8) -> Answer {
    Answer { kind: 20, flags: 2, offset: 0, port: PORT, payload: vec![payload] }
}

fn done(errno: i32) -> Answer {
    let payload = (-errno).to_ne_bytes().to_vec();
    Answer { kind: NLMSG_DONE, flags: 2, offset: 0, port: PORT, payload }
}

fn one(answers: Vec<Answer>) -> Vec<Event> {
    vec![Event::Datagram(answers)]
}

fn requests(count: usize) -> Vec<Request> {
    vec![Request { kind: 20, flags: 0x600, payload: vec![1; 8] }; count]
}

fn errnos(results: &[Result<(), KernelError>]) -> Vec<i32> {
    results.iter().map(|result| result.as_ref().err().map_or(0, |error| error.errno)).collect()
}

fn payloads(replies: &[Reply]) -> Vec<u8> {
    replies.iter().map(|reply| reply.payload[0]).collect()
}

#[test]
fn errors_find_their_requests_and_only_the_last_asks_for_an_acknowledgement() {
    let mut exchange = exchange(vec![one(vec![error(1, EEXIST), error(3, 0)])]);
    let results = exchange.batch(&requests(4)).unwrap();
    assert_eq!(errnos(&results), [0, EEXIST, 0, 0]);
    let flags: Vec<_> =
        frame::messages(&exchange.wire.sent[0]).map(|message| message.unwrap().flags).collect();
    assert_eq!(flags, [0x601, 0x601, 0x601, 0x605]);
}

#[test]
fn the_error_of_the_last_request_ends_the_batch() {
    let mut exchange = exchange(vec![vec![
        Event::Datagram(vec![error(0, 19)]),
        Event::Datagram(vec![error(1, EEXIST)]),
    ]]);
    assert_eq!(errnos(&exchange.batch(&requests(2)).unwrap()), [19, EEXIST]);
}

#[test]
fn an_empty_batch_sends_nothing() {
    let mut exchange = exchange(vec![]);
    assert!(exchange.batch(&[]).unwrap().is_empty());
    assert!(exchange.wire.sent.is_empty());
}

#[test]
fn a_long_batch_is_sent_in_chunks_whose_errors_fit_the_receive_buffer() {
    let per_chunk = (1 << 19) / ERROR_COST;
    let last = |offset: usize| one(vec![error(0, EEXIST), error(offset as u32, 0)]);
    let mut exchange = exchange(vec![last(per_chunk - 1), last(per_chunk - 1), last(4)]);
    let results = exchange.batch(&requests(2 * per_chunk + 5)).unwrap();
    assert_eq!(exchange.wire.sent.len(), 3);
    let refused: Vec<_> = (0..results.len()).filter(|index| results[*index].is_err()).collect();
    assert_eq!(refused, [0, per_chunk, 2 * per_chunk]);
}

/// Kernels before 4.2 echo the whole request, and others do if asked to.
#[test]
fn a_chunk_is_shorter_where_whole_requests_come_back() {
    let per_chunk = (1 << 19) / (ERROR_COST + 2 * frame::framed_len(&requests(1)[0]));
    let last = |offset: usize| one(vec![error(offset as u32, 0)]);
    let mut exchange = exchange(vec![last(per_chunk - 1), last(0)]);
    exchange.granted.echo = Echo::WholeRequest;
    assert_eq!(exchange.batch(&requests(per_chunk + 1)).unwrap().len(), per_chunk + 1);
    assert_eq!(exchange.wire.sent.len(), 2);
}

#[test]
fn a_request_longer_than_a_chunk_travels_alone() {
    let mut exchange = exchange(vec![one(vec![error(0, 0)]), one(vec![error(0, 0)])]);
    let long = Request { payload: vec![0; 2 << 20], ..Request::default() };
    let results = exchange.batch(&[long, Request::default()]).unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(exchange.wire.sent.len(), 2);
}

#[test]
fn replies_to_others_and_of_earlier_exchanges_are_skipped() {
    let stale = Answer { offset: u32::MAX, ..error(0, 5) };
    let foreign = Answer { port: PORT + 1, ..error(0, 6) };
    let mut exchange = exchange(vec![one(vec![stale, foreign, error(0, 0)])]);
    assert_eq!(errnos(&exchange.batch(&requests(1)).unwrap()), [0]);
}

#[test]
fn sequence_numbers_wrap_past_zero() {
    let mut exchange = exchange(vec![one(vec![error(2, 0)]), one(vec![error(0, 0)])]);
    exchange.next = u32::MAX - 1;
    exchange.batch(&requests(3)).unwrap();
    assert_eq!(exchange.wire.first, 1);
    exchange.batch(&requests(1)).unwrap();
    assert_eq!(exchange.wire.first, 4);
}

#[test]
fn lost_replies_leave_the_state_unknown_and_the_socket_usable() {
    let lost = vec![
        Event::Errno(ENOBUFS),
        Event::Datagram(vec![error(0, EEXIST)]),
        Event::Errno(ENOBUFS),
        Event::Datagram(vec![error(1, 0)]),
    ];
    let mut exchange = exchange(vec![lost, one(vec![error(0, 0)])]);
    assert!(matches!(exchange.batch(&requests(2)), Err(Error::StateUnknown)));
    assert!(exchange.wire.queue.is_empty());
    assert_eq!(errnos(&exchange.batch(&requests(1)).unwrap()), [0]);
}

#[test]
fn a_last_request_without_an_answer_was_interrupted_and_the_others_results_stand() {
    let mut exchange = exchange(vec![vec![], one(vec![error(1, EEXIST)])]);
    assert_eq!(errnos(&exchange.batch(&requests(1)).unwrap()), [EINTR]);
    assert_eq!(errnos(&exchange.batch(&requests(3)).unwrap()), [0, EEXIST, EINTR]);
}

#[test]
fn without_rights_the_first_refusal_stands_for_all() {
    let mut exchange = exchange(vec![
        one(vec![error(0, EPERM)]),
        one(vec![error(0, EPERM), error(2, 0)]),
        one(vec![error(0, EPERM), error(1, ENODEV)]),
    ]);
    assert_eq!(errnos(&exchange.batch(&requests(3)).unwrap()), [EPERM; 3]);
    // The other requests were read and carried out: the kernel refused this one alone.
    assert_eq!(errnos(&exchange.batch(&requests(3)).unwrap()), [EPERM, 0, 0]);
    assert_eq!(errnos(&exchange.batch(&requests(3)).unwrap()), [EPERM, ENODEV, EINTR]);
}

#[test]
fn silence_after_a_question_is_a_timeout_and_other_errors_name_the_call() {
    let mut exchange = exchange(vec![vec![], vec![Event::Errno(9)]]);
    assert!(matches!(exchange.ask(&Request::default()), Err(Error::TimedOut)));
    let error = exchange.batch(&requests(1)).unwrap_err();
    assert!(matches!(error, Error::Io { operation: "recv", .. }), "{error}");
}

#[test]
fn a_truncated_datagram_is_an_error() {
    let mut exchange = exchange(vec![vec![Event::Truncated]]);
    assert!(matches!(exchange.dump(&Request::default()), Err(Error::Malformed(_))));
}

#[test]
fn a_dump_ends_with_done_over_several_datagrams() {
    let mut exchange = exchange(vec![vec![
        Event::Datagram(vec![reply(1), reply(2)]),
        Event::Datagram(vec![reply(3)]),
        Event::Datagram(vec![done(0)]),
    ]]);
    assert_eq!(payloads(&exchange.dump(&Request::default()).unwrap()), [1, 2, 3]);
    let sent = frame::messages(&exchange.wire.sent[0]).next().unwrap().unwrap();
    assert_eq!(sent.flags, NLM_F_REQUEST | NLM_F_DUMP);
}

#[test]
fn an_interrupted_dump_begins_again() {
    let changed = Answer { flags: 2 | NLM_F_DUMP_INTR, ..reply(2) };
    let mut exchange = exchange(vec![
        one(vec![reply(1), changed, done(0)]),
        one(vec![reply(1), Answer { flags: 2 | NLM_F_DUMP_INTR, ..done(0) }]),
        one(vec![reply(1), done(EINTR)]),
        one(vec![error(0, EINTR)]),
        one(vec![reply(4), done(0)]),
    ]);
    assert_eq!(payloads(&exchange.dump(&Request::default()).unwrap()), [4]);
    assert_eq!(exchange.wire.sent.len(), 5);
}

#[test]
fn what_an_interrupted_attempt_took_is_neither_kept_nor_missing() {
    let changed = Answer { flags: 2 | NLM_F_DUMP_INTR, ..reply(2) };
    let mut exchange = exchange(vec![
        vec![
            Event::Datagram(vec![reply(1)]),
            Event::Datagram(vec![changed, reply(3)]),
            Event::Datagram(vec![done(0)]),
        ],
        vec![Event::Datagram(vec![reply(1), reply(2)]), Event::Datagram(vec![reply(3), done(0)])],
    ]);
    let mut attempts = 0;
    let fresh = || {
        attempts += 1;
        Vec::new()
    };
    let take = |all: &mut Vec<u8>, reply: ReplyRef<'_>| all.extend_from_slice(reply.payload);
    assert_eq!(exchange.fold_dump(&Request::default(), fresh, take).unwrap(), [1, 2, 3]);
    assert_eq!(attempts, 2);
}

#[test]
fn a_table_never_at_rest_is_given_up() {
    let mut exchange = exchange((0..DUMP_TRIES).map(|_| one(vec![done(EINTR)])).collect());
    let error = exchange.dump(&Request::default()).unwrap_err();
    assert!(matches!(error, Error::Interrupted { tries: DUMP_TRIES }), "{error}");
}

#[test]
fn an_aborted_dump_is_an_error() {
    let mut exchange = exchange(vec![one(vec![reply(1), done(90)]), one(vec![error(0, 16)])]);
    for errno in [90, 16] {
        match exchange.dump(&Request::default()) {
            Err(Error::Kernel(error)) => assert_eq!(error.errno, errno),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_question_is_answered_up_to_its_acknowledgement() {
    let mut exchange = exchange(vec![
        vec![Event::Datagram(vec![reply(1)]), Event::Datagram(vec![error(0, 0)])],
        one(vec![error(0, 3)]),
    ]);
    assert_eq!(payloads(&exchange.ask(&Request::default()).unwrap()), [1]);
    match exchange.ask(&Request::default()) {
        Err(Error::Kernel(error)) => assert_eq!(error.errno, 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_overrun_message_is_lost_replies() {
    let overrun = Answer { kind: NLMSG_OVERRUN, ..error(0, 0) };
    let noop = Answer { kind: NLMSG_NOOP, ..error(0, 0) };
    let mut exchange = exchange(vec![one(vec![noop, overrun])]);
    assert!(matches!(exchange.batch(&requests(1)), Err(Error::StateUnknown)));
}
