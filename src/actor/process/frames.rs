//! What frames about addresses do, and what is told of addresses when frames pause or end.

use std::io;
use std::sync::Arc;

use super::afar::End;
use super::border::Border;
use crate::process::host::{HEAD, Kind};
use crate::task::{self, JoinError};

impl Border {
    /// Does what a frame about an address says. An error if it is none.
    pub(super) fn handle_address(self: &Arc<Self>, kind: Kind, number: u64, rest: &[u8]) -> io::Result<()> {
        let second = || rest.split_first_chunk().ok_or(io::ErrorKind::InvalidData);
        match kind {
            Kind::Post => {
                let (message, bytes) = second()?;
                // One that was released meanwhile is sent nothing by whoever released it.
                if let Some(target) = self.target(number) {
                    target.deliver(self, number, u64::from_be_bytes(*message), bytes);
                }
            }
            Kind::Watch => self.watch(number),
            Kind::CloseThat => _ = self.target(number).map(|target| target.close()),
            Kind::Kill => {
                let (question, _) = second()?;
                self.kill(number, u64::from_be_bytes(*question));
            }
            Kind::Release => {
                let released = self.entries().addresses.remove(&number);
                if let Some(exported) = &released {
                    exported.target.settled().tell();
                }
                drop(released);
            }
            Kind::Settled => {
                let (arrived, rest) = second()?;
                let received = rest.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
                if let Some(afar) = self.afar(number)
                    && afar.settle(u64::from_be_bytes(*arrived), u64::from_be_bytes(*received))?
                {
                    let known = self.entries().relays.remove(&number);
                    drop(known);
                }
            }
            Kind::Closed => {
                if let Some(afar) = self.afar(number) {
                    afar.state().is_closed_there = true;
                    afar.close_mailbox();
                }
            }
            Kind::Gone => {
                let end = rest.split_first().and_then(|(code, text)| End::of(*code, text));
                let end = end.ok_or(io::ErrorKind::InvalidData)?;
                if let Some(afar) = self.afar(number) {
                    afar.ended(end);
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// Lets the other side know of the end of an actor of this side.
    fn watch(self: &Arc<Self>, number: u64) {
        let Some(target) = self.target(number) else { return };
        let border = Arc::downgrade(self);
        let told = move |error: Option<&JoinError>| {
            let Some(border) = border.upgrade() else { return };
            let (code, text) = End::code(error);
            let text = &text.as_bytes()[..text.len().min(HEAD - 16)];
            border.send(Kind::Gone, &[&number.to_be_bytes(), &[code], text]);
        };
        let watch = target.watch(Box::new(told));
        let mut entries = self.entries();
        let unused = match entries.addresses.get_mut(&number) {
            Some(exported) => std::mem::replace(&mut exported.watch, watch),
            None => watch,
        };
        drop(entries);
        drop(unused);
    }

    /// Kills an actor of this side, for a question of the other one.
    fn kill(self: &Arc<Self>, number: u64, question: u64) {
        struct AnswerOnDrop(Arc<Border>, u64);
        impl Drop for AnswerOnDrop {
            fn drop(&mut self) {
                self.0.send_number(Kind::NoAnswer, self.1);
            }
        }
        let answer = AnswerOnDrop(self.clone(), question);
        let Some(target) = self.target(number) else { return };
        let kill = move || {
            let _answer = answer;
            target.kill();
        };
        // Refused only where the runtime ends, and with it the actor.
        drop(task::Builder::new().name("osier::actor::kill").try_spawn_lasting(kill));
    }

    /// Tells the other side what has arrived, since no more has come.
    pub(super) fn tell_settled(&self) {
        // Whoever calls this before the end waits until others have told what they were about to.
        let telling = self.telling();
        let numbers = std::mem::take(&mut self.entries().unsettled);
        for number in numbers {
            if let Some(target) = self.target(number) {
                target.settled().tell_as(&telling, self);
            }
        }
    }

    /// Tells the other side all that has arrived and was received, at the end.
    pub(super) fn tell_all_settled(&self) {
        let telling = self.telling();
        let targets: Vec<_> = self.entries().addresses.values().map(|exported| exported.target.clone()).collect();
        targets.iter().for_each(|target| target.settled().tell_as(&telling, self));
    }

    /// Waits until all that was sent to addresses of the other side is on its way; nothing more is sent to them.
    ///
    /// # Suspends
    pub(super) fn flush(&self) {
        let relays: Vec<_> = self.entries().relays.values().cloned().collect();
        relays.iter().for_each(|afar| afar.close_mailbox());
        relays.iter().for_each(|afar| afar.is_done.wait());
    }
}
