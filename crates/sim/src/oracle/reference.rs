//! The reference model of matching: two rules that hold for every correct run, whatever the
//! order in which different senders' messages arrived.

use crate::{
    oracle::{Violation, ledger::ReceiveRecord},
    workload::Message,
};

/// Predecessors each message is compared with: enough to notice any overtaking, since one that
/// reaches further also overtakes a neighbour.
const REACH: usize = 64;

/// A message of one sender to one host, and the receive it met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched<'a> {
    pub(super) number: u32,
    pub(super) message: &'a Message,
    /// Position of the receive among those of the host; `None` if the message met none.
    pub(super) receive: Option<u64>,
}

/// Checks the messages of one sender to one host, in the order they were sent, against the
/// receives of the host, in the order they were posted.
///
/// - Non-overtaking: a receive that met a later message accepts no earlier one that met a
///   receive posted after it, or none.
/// - Oldest first: a message passed over no older receive that accepts it and that waited until
///   the end.
pub(super) fn check(messages: &[Matched<'_>], receives: &[ReceiveRecord]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let waiting: Vec<u64> = (0u64..)
        .zip(receives)
        .filter(|(_, record)| record.waited_in_vain)
        .map(|(n, _)| n)
        .collect();
    for (position, later) in messages.iter().enumerate() {
        let Some(met) = later.receive else { continue };
        let Some(record) = receives.get(usize::try_from(met).unwrap_or(usize::MAX)) else {
            continue;
        };
        let before = &messages[position.saturating_sub(REACH)..position];
        let overtaken = before.iter().find(|earlier| {
            earlier.receive.is_none_or(|receive| receive > met)
                && record.receive.accepts(earlier.message)
        });
        if let Some(earlier) = overtaken {
            let (earlier, later) = (earlier.number, later.number);
            violations.push(Violation::Overtaken { earlier, later });
        }
        let older = waiting.iter().take_while(|&&receive| receive < met);
        let passed = older.copied().find(|&receive| {
            usize::try_from(receive)
                .ok()
                .and_then(|at| receives.get(at))
                .is_some_and(|record| record.receive.accepts(later.message))
        });
        if let Some(receive) = passed {
            violations.push(Violation::PassedOver { number: later.number, receive });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Class, Receive};

    fn receive(class: Class, waited_in_vain: bool) -> ReceiveRecord {
        let receive =
            Receive { from: None, class, capacity: 0, least: None, at: 0, cancel_after: None };
        ReceiveRecord { receive, ended: true, waited_in_vain }
    }

    fn message(class: u32) -> Message {
        Message { class: Some(class), ..Message::default() }
    }

    fn checked(met: &[(u32, Option<u64>)], receives: &[ReceiveRecord]) -> Vec<Violation> {
        let messages: Vec<_> = met.iter().map(|&(class, _)| message(class)).collect();
        let matched: Vec<_> = (0..)
            .zip(&messages)
            .zip(met)
            .map(|((number, message), &(_, receive))| Matched { number, message, receive })
            .collect();
        check(&matched, receives)
    }

    #[test]
    fn a_later_message_in_an_older_receive_is_an_overtaking() {
        let any = [receive(Class::AnyTag, false), receive(Class::AnyTag, false)];
        assert_eq!(checked(&[(1, Some(0)), (1, Some(1))], &any), []);
        let overtaken = [Violation::Overtaken { earlier: 0, later: 1 }];
        assert_eq!(checked(&[(1, Some(1)), (1, Some(0))], &any), overtaken);
        assert_eq!(checked(&[(1, None), (1, Some(0))], &any), overtaken);
    }

    #[test]
    fn messages_for_different_receives_may_pass_each_other() {
        let receives = [receive(Class::Tagged(2), false), receive(Class::Tagged(1), false)];
        assert_eq!(checked(&[(1, Some(1)), (2, Some(0))], &receives), []);
    }

    #[test]
    fn a_receive_that_waited_in_vain_was_passed_over() {
        let receives = [receive(Class::Tagged(1), true), receive(Class::AnyTag, false)];
        assert_eq!(checked(&[(2, Some(1))], &receives), []);
        let passed = [Violation::PassedOver { number: 0, receive: 0 }];
        assert_eq!(checked(&[(1, Some(1))], &receives), passed);
    }
}
