//! The ends of channels as operations of a select, and as objects to wait for.

use std::time::Instant;

use super::exchange::Exchange;
use super::oneshot::{OneshotReceiver, OneshotSender};
use super::{Receiver, RecvError, SendError, Sender};
use crate::sync::Wait;
use crate::sync::select::expansion::{Operation, Receive};
use crate::sync::select::{Arm, Operand, SelectedOperation, Token};
use crate::task::{Choice, Waiter};

impl<T> Operand for Receiver<T> {
    fn is_ready(&self) -> bool {
        self.exchange.can_recv()
    }

    fn due(&self) -> Option<Instant> {
        self.exchange.due()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.exchange.watch_recv(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.exchange.unwatch_recv(waiter);
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
        self.exchange.unwatch_send(waiter);
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

impl<T> Receive for OneshotReceiver<T> {
    type Received = Result<T, RecvError>;

    fn __osier_operation(&self) -> Operation<'_> {
        Operation::of(&self.0)
    }

    fn __osier_complete(&self, operation: SelectedOperation<'_>) -> Self::Received {
        operation.recv(&self.0)
    }
}

impl<T> Wait for OneshotReceiver<T> {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(&self.0)
    }
}

/// An answer that nobody waits for any more.
impl<T> Operand for OneshotSender<T> {
    fn is_ready(&self) -> bool {
        self.is_closed()
    }

    unsafe fn watch(&self, waiter: *const Waiter) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.0.exchange.watch_closed(waiter) }
    }

    fn unwatch(&self, waiter: &Waiter) {
        self.0.exchange.unwatch_recv(waiter);
    }
}

/// Ready when the receiver is gone, or has closed the channel.
impl<T> Wait for OneshotSender<T> {
    fn __osier_wait(&self) -> Operation<'_> {
        Operation::of(self)
    }
}

/// What the ends of a log have in common. They are operands: looking takes nothing; a branch `recv(..)` takes what there is as it begins, so that it
/// never waits, also where others share the receiver.
macro_rules! log_ends {
    ($sender:ident, $receiver:ident, $error:ident) => {
        impl<T> crate::sync::select::Operand for $receiver<T> {
            fn is_ready(&self) -> bool {
                self.end.is_ready()
            }

            unsafe fn watch(&self, waiter: *const crate::task::Waiter) -> bool {
                // SAFETY: the caller's promise.
                unsafe { self.end.watch(waiter) }
            }

            fn unwatch(&self, waiter: &crate::task::Waiter) {
                self.end.unwatch(waiter);
            }
        }

        impl<T> crate::sync::Wait for $receiver<T> {
            fn __osier_wait(&self) -> crate::sync::select::expansion::Operation<'_> {
                crate::sync::select::expansion::Operation::of(self)
            }
        }

        impl<T: Clone> crate::sync::select::expansion::Receive for $receiver<T> {
            type Received = Result<T, $error>;

            fn __osier_operation(&self) -> crate::sync::select::expansion::Operation<'_> {
                crate::sync::select::expansion::Operation::of(&self.end)
            }

            fn __osier_complete(&self, operation: crate::sync::select::SelectedOperation<'_>) -> Self::Received {
                Self::received(operation.complete(&self.end, crate::sync::channel::log::End::finish))
            }
        }

        /// Ready when nobody wants what would be sent: every receiver is gone, or the channel is closed.
        impl<T> crate::sync::Wait for $sender<T> {
            fn __osier_wait(&self) -> crate::sync::select::expansion::Operation<'_> {
                crate::sync::select::expansion::Operation::of(&*self.log)
            }
        }

        impl<T> $sender<T> {
            /// Waits until nobody wants what would be sent: every receiver is gone, or the channel is closed. Also an object
            /// for [`wait`](crate::wait).
            ///
            /// # Suspends
            /// The calling task, or on a plain thread the thread, while there is a receiver.
            ///
            /// # Cancel safety
            /// A task that is cancelled while it waits unwinds from here, and nothing has changed.
            pub fn closed(&self) {
                self.log.wait_closed(None);
            }

            /// Waits as [`closed`](Self::closed) does, for at most `timeout`. Whether nobody wants what would be sent.
            ///
            /// # Suspends
            /// As [`closed`](Self::closed).
            ///
            /// # Cancel safety
            /// As [`closed`](Self::closed).
            pub fn closed_timeout(&self, timeout: std::time::Duration) -> bool {
                self.log.wait_closed(crate::sync::waiting::after(timeout))
            }

            /// Waits as [`closed`](Self::closed) does, until `deadline`. Whether nobody wants what would be sent.
            ///
            /// # Suspends
            /// As [`closed`](Self::closed).
            ///
            /// # Cancel safety
            /// As [`closed`](Self::closed).
            pub fn closed_deadline(&self, deadline: std::time::Instant) -> bool {
                self.log.wait_closed(Some(deadline))
            }
        }

        impl<T> Clone for $sender<T> {
            fn clone(&self) -> Self {
                self.log.add_sender();
                Self { log: self.log.clone() }
            }
        }

        impl<T> Drop for $sender<T> {
            fn drop(&mut self) {
                self.log.drop_sender();
            }
        }

        impl<T> Clone for $receiver<T> {
            fn clone(&self) -> Self {
                Self { end: self.end.clone() }
            }
        }
    };
}
pub(super) use log_ends;
