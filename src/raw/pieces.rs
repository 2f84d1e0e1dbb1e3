//! An event array cut into pieces: values of the same form, each with the elements that follow those of the one before.
//! The time and the memory are those of copying the array once.

use eventkit_core::error::Result;
use eventkit_core::event::POLL_EVERY;
use pgrx::pg_sys;

use super::array::{View, head_size};
use super::array_form::Offsets;
use super::document_form::DocumentWriter;
use super::jsonb::Container;
use super::out::Out;
use super::server::poll;
use super::varlena::{aligned, corrupted};

/// The pieces of an array of variable-length elements; `lens` says how many elements each has.
pub(super) fn of_array(view: View<'_>, lens: impl Iterator<Item = usize>) -> Result<Vec<pg_sys::Datum>> {
    let mut walk = Offsets::new(view);
    let mut position = 0;
    lens.map(|len| {
        let start = walk.offset();
        let mut bits = vec![0; if view.may_have_nulls() { len.div_ceil(8) } else { 0 }];
        let mut nulls = false;
        for at in 0..len {
            position += 1;
            if position % POLL_EVERY == 0 {
                poll();
            }
            let (place, _) = walk.next()?.ok_or_else(too_short)?;
            if view.is_null(place) {
                nulls = true;
            } else if let Some(byte) = bits.get_mut(at / 8) {
                *byte |= 1u8 << (at % 8);
            }
        }
        let data = view.data.get(start..walk.offset()).ok_or_else(too_short)?;
        let head = if len == 0 { head_size(0, 0) } else { head_size(1, if nulls { len } else { 0 }) };
        let mut out = Out::with_capacity(head + aligned(data.len()))?;
        out.word(u32::from(len > 0));
        out.word(if nulls { u32::try_from(head).unwrap_or(0) } else { 0 });
        out.word(view.element_type);
        if len > 0 {
            out.word(u32::try_from(len).map_err(|_| too_short())?);
            out.word(1);
        }
        if nulls {
            out.bytes(&bits);
        }
        out.zeros_to(head);
        out.bytes(data);
        // The array's last element may lack the padding that the others have.
        out.zeros_to(aligned(out.len()));
        Ok(out.into_datum())
    })
    .collect()
}

/// The pieces of a `jsonb` array.
pub(super) fn of_document(view: Container<'_>, lens: impl Iterator<Item = usize>) -> Result<Vec<pg_sys::Datum>> {
    let mut children = view.children();
    let views = [view];
    lens.map(|len| {
        let piece = children.by_ref().take(len).collect::<Result<Vec<_>>>()?;
        let data = piece.iter().map(|child| child.end.saturating_sub(child.start)).sum();
        let mut writer = DocumentWriter::new(&views, piece.len(), data)?;
        for child in &piece {
            writer.child(0, child)?;
        }
        Ok(writer.finish())
    })
    .collect()
}

fn too_short() -> eventkit_core::error::Error {
    corrupted("array", "The array has fewer elements than its head says.")
}
