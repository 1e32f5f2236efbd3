//! From frame to frame.
//!
//! A task may be suspended from within generators and greenlets: then their stacks are parked with it, and the walk goes
//! from each to the one that it was resumed from, by what corosensei's tables say of its trampolines. It ends where it
//! leaves our stacks: below the task's is its worker's thread, which goes on.
//!
//! Only stacks of ours are read, so tables that are wrong end a walk early, and do no harm. How a function's caller is found
//! is looked up once a place in the code; ten thousand tasks mostly wait at the same few.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{
    CfaRule, EhFrame, EvaluationResult, Expression, Register, RegisterRule, UnwindContext, UnwindExpression,
    UnwindSection as _, Value,
};

use super::tables::{Bytes, Module, modules};
use crate::coroutine::Registers;
use crate::stack::slot_around;

/// The numbers of the registers, in the tables.
#[cfg(target_arch = "x86_64")]
const FRAME: Register = gimli::X86_64::RBP;
#[cfg(target_arch = "x86_64")]
const STACK: Register = gimli::X86_64::RSP;
#[cfg(target_arch = "aarch64")]
const FRAME: Register = gimli::AArch64::X29;
#[cfg(target_arch = "aarch64")]
const STACK: Register = gimli::AArch64::SP;

/// The most frames that are told of a task.
const DEEPEST: usize = 128;

/// See the module's page.
pub(in crate::runtime::diagnosis) struct Walker {
    modules: Vec<Module>,
    context: Box<UnwindContext<usize>>,
    steps: HashMap<usize, Option<Step>>,
    /// The stack that was read last.
    slot: Range<usize>,
}

/// How the caller of the code at one place is found.
#[derive(Clone, Copy)]
struct Step {
    /// Where its frame begins: the value of the stack pointer when this function was called.
    base: Base,
    /// Where the place to return to is, and the frame pointer, from there; the frame pointer may not have changed.
    returns_to: i64,
    frame: Option<i64>,
    /// Whether the place to return to is not behind a call.
    is_exact: bool,
}

#[derive(Clone, Copy)]
enum Base {
    Offset(Register, i64),
    /// By a calculation of the module with this number.
    Calculated(usize, UnwindExpression<usize>, gimli::Encoding),
}

impl Walker {
    pub(in crate::runtime::diagnosis) fn new() -> Self {
        Self { modules: modules(), context: Box::default(), steps: HashMap::new(), slot: 0..0 }
    }

    /// The places in the code that a suspended task goes on at, and its callers, the innermost first; places behind calls
    /// are moved into them.
    ///
    /// # Safety
    /// - `from` are a task's registers that suspended with them, and it is not resumed meanwhile.
    pub(in crate::runtime::diagnosis) unsafe fn walk(&mut self, from: Registers) -> Vec<usize> {
        let mut calls = Vec::new();
        let mut registers = from;
        let mut is_exact = true;
        while calls.len() < DEEPEST {
            let place = registers.instruction - usize::from(!is_exact);
            let Some(step) = self.step_at(place) else { break };
            calls.push(place);
            // SAFETY: the caller's promise.
            let Some(caller) = (unsafe { self.caller(step, registers) }) else { break };
            if caller.instruction == 0 {
                break;
            }
            registers = caller;
            is_exact = step.is_exact;
        }
        calls
    }

    /// # Safety
    /// - As [`walk`](Self::walk).
    unsafe fn caller(&mut self, step: Step, callee: Registers) -> Option<Registers> {
        let base = match step.base {
            Base::Offset(register, offset) => (if register == STACK { callee.stack } else { callee.frame })
                .wrapping_add_signed(offset.try_into().ok()?),
            // SAFETY: the caller's promise.
            Base::Calculated(module, expression, encoding) => unsafe {
                self.calculate(module, expression, encoding, callee)?
            },
        };
        let mut read = |offset: i64| -> Option<usize> {
            // SAFETY: the caller's promise.
            unsafe { self.read(base.wrapping_add_signed(offset.try_into().ok()?)) }
        };
        let instruction = read(step.returns_to)?;
        let frame = step.frame.map_or(Some(callee.frame), read)?;
        Some(Registers { instruction, stack: base, frame })
    }

    /// The word at an address of one of our stacks.
    ///
    /// # Safety
    /// - As [`walk`](Self::walk).
    unsafe fn read(&mut self, address: usize) -> Option<usize> {
        if !address.is_multiple_of(size_of::<usize>()) {
            return None;
        }
        if !self.slot.contains(&address) {
            self.slot = slot_around(address)?;
        }
        // SAFETY: it is aligned, on a stack of ours, which is mapped for ever; nobody writes there, by the caller's promise.
        Some(unsafe { std::ptr::with_exposed_provenance::<usize>(address).read_volatile() })
    }

    /// # Safety
    /// - As [`walk`](Self::walk).
    unsafe fn calculate(
        &mut self,
        module: usize,
        expression: UnwindExpression<usize>,
        encoding: gimli::Encoding,
        callee: Registers,
    ) -> Option<usize> {
        let frames: EhFrame<Bytes> = self.modules[module].frames;
        let expression: Expression<Bytes> = expression.get(&frames).ok()?;
        let mut evaluation = expression.evaluation(encoding);
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, .. } => {
                    // SAFETY: the caller's promise.
                    let word = unsafe { self.read(address.try_into().ok()?)? };
                    evaluation.resume_with_memory(Value::Generic(word as u64)).ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = if register == STACK { callee.stack } else { callee.frame };
                    evaluation.resume_with_register(Value::Generic(value as u64)).ok()?
                }
                _ => return None,
            };
        }
        evaluation.value_result()?.to_u64(u64::MAX).ok()?.try_into().ok()
    }

    fn step_at(&mut self, place: usize) -> Option<Step> {
        if let Some(step) = self.steps.get(&place) {
            return *step;
        }
        let step = self.look_up(place);
        self.steps.insert(place, step);
        step
    }

    fn look_up(&mut self, place: usize) -> Option<Step> {
        let number = self.modules.iter().position(|module| module.text.contains(&place))?;
        let module = &self.modules[number];
        let function = module
            .index
            .table()?
            .fde_for_address(&module.frames, &module.bases, place as u64, EhFrame::cie_from_offset)
            .ok()?;
        let row =
            function.unwind_info_for_address(&module.frames, &module.bases, &mut self.context, place as u64).ok()?;
        let base = match *row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } if [STACK, FRAME].contains(&register) => {
                Base::Offset(register, offset)
            }
            CfaRule::RegisterAndOffset { .. } => return None,
            CfaRule::Expression(expression) => Base::Calculated(number, expression, function.cie().encoding()),
        };
        // What is not saved below the frame's beginning is the outermost function's, or of a kind that nobody writes.
        let Some(RegisterRule::Offset(returns_to)) = row.register(function.cie().return_address_register()) else {
            return None;
        };
        let frame = match row.register(FRAME) {
            Some(RegisterRule::Offset(offset)) => Some(offset),
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => None,
            Some(_) => return None,
        };
        Some(Step { base, returns_to, frame, is_exact: function.is_signal_trampoline() })
    }
}
