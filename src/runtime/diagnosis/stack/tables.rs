//! What a program and its libraries say of their functions' frames.
//!
//! Each has a segment that says where in its functions the caller's frame is to be found: `.eh_frame`, with an index to
//! search in. They lie in memory, since exceptions are unwound by them.

use std::ops::Range;

use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, ParsedEhFrameHdr};

pub(super) type Bytes = EndianSlice<'static, NativeEndian>;

/// The tables of the program, or of a library.
pub(super) struct Module {
    /// Its code.
    pub(super) text: Range<usize>,
    pub(super) bases: BaseAddresses,
    pub(super) index: ParsedEhFrameHdr<Bytes>,
    pub(super) frames: EhFrame<Bytes>,
}

/// The program and its libraries, as far as they have tables.
pub(super) fn modules() -> Vec<Module> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: libc::size_t, to: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the system lends the description of a module, and `modules` the list.
        let (info, modules) = unsafe { (&*info, &mut *to.cast::<Vec<Module>>()) };
        modules.extend(Module::of(info));
        0
    }
    let mut modules = Vec::new();
    // SAFETY: `add` gets the list, and neither unwinds nor keeps anything.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut modules).cast()) };
    modules
}

impl Module {
    fn of(info: &libc::dl_phdr_info) -> Option<Self> {
        let base = usize::try_from(info.dlpi_addr).ok()?;
        // SAFETY: the system says how many there are.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let range = |header: &libc::Elf64_Phdr| {
            let start = base.wrapping_add(usize::try_from(header.p_vaddr).ok()?);
            Some(start..start.wrapping_add(usize::try_from(header.p_memsz).ok()?))
        };
        let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let text = range(loaded().find(|header| header.p_flags & libc::PF_X != 0)?)?;
        let hdr = range(headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME)?)?;
        // SAFETY: a module is not unloaded while code of it is on a stack; what lies in it is read for such code alone.
        let bytes = |range: Range<usize>| unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(range.start), range.len())
        };
        let bases = BaseAddresses::default().set_eh_frame_hdr(hdr.start as u64).set_text(text.start as u64);
        let index = EhFrameHdr::new(bytes(hdr), NativeEndian).parse(&bases, 8).ok()?;
        index.table()?;
        let gimli::Pointer::Direct(frames) = index.eh_frame_ptr() else { return None };
        let start = usize::try_from(frames).ok()?;
        // How long the table is is not said: up to the end of its segment, at most.
        let end = loaded().filter_map(range).find(|segment| segment.contains(&start))?.end;
        let bases = bases.set_eh_frame(frames);
        Some(Self { text, bases, index, frames: EhFrame::new(bytes(start..end), NativeEndian) })
    }
}
