//! The ends of a channel as operations of a select.

use super::exchange::Exchange;
use super::{Receiver, RecvError, SendError, Sender};
use crate::sync::select::{Arm, Operand, Token};
use crate::task::{Choice, Waiter};

impl<T> Operand for Receiver<T> {
    fn is_ready(&self) -> bool {
        self.exchange.can_recv()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.exchange.watch_recv(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.exchange.unwatch(waiter);
    }

    fn begin(&self, token: &mut Token) -> bool {
        self.exchange.begin_recv(token)
    }

    unsafe fn enter(&self, arm: &Arm<'_>, choice: &Choice) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.exchange.enter_recv(arm, choice) }
    }

    fn leave(&self, arm: &Arm<'_>) {
        self.exchange.leave_recv(arm);
    }

    fn collect(&self, token: &mut Token) -> bool {
        token.has_received()
    }

    fn abandon(&self, token: &mut Token) {
        self.exchange.abandon_recv(token);
    }
}

impl<T> Receiver<T> {
    /// Completes a receive that a select began.
    pub(crate) fn finish_recv(&self, token: &mut Token) -> Result<T, RecvError> {
        Exchange::finish_recv(token).ok_or(RecvError)
    }
}

impl<T> Operand for Sender<T> {
    fn is_ready(&self) -> bool {
        self.exchange.can_send()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.exchange.watch_send(waiter, None) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.exchange.unwatch(waiter);
    }

    fn begin(&self, token: &mut Token) -> bool {
        self.exchange.begin_send(token)
    }

    unsafe fn enter(&self, arm: &Arm<'_>, choice: &Choice) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.exchange.watch_send(arm.as_waiter(), Some(choice)) }
    }

    fn collect(&self, _token: &mut Token) -> bool {
        // Woken to look again: there is no value yet.
        false
    }

    fn abandon(&self, token: &mut Token) {
        self.exchange.abandon_send(token);
    }
}

impl<T> Sender<T> {
    /// Completes a send that a select began.
    pub(crate) fn finish_send(&self, token: &mut Token, value: T) -> Result<(), SendError<T>> {
        self.exchange.finish_send(token, value).map_err(SendError)
    }
}
