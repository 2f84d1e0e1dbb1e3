//! The forms `hstore[]` and `jsonb[]`: arrays walked, made shorter or longer where they lie, and written anew.

use eventkit_core::arrange::SECOND;
use eventkit_core::error::Result;
use eventkit_core::event::POLL_EVERY;
use eventkit_core::selection::{Marks, Selection};
use pgrx::pg_sys;

use super::array::{Layout, NULL_HANDLE, View, head_size};
use super::form::Form;
use super::hstore::Hstore;
use super::jsonb::{Container, Object};
use super::out::Out;
use super::pieces;
use super::server::poll;
use super::varlena::{Detoasted, Payload, aligned, corrupted, element};

/// Elements that are `hstore`.
pub enum HstoreLayout {}

impl Layout for HstoreLayout {
    type Event<'a> = Hstore<'a>;
    const NAME: &'static str = "hstore";

    #[inline(always)]
    fn read(payload: Payload<'_>) -> Result<Option<Hstore<'_>>> {
        Hstore::read(payload).map(Some)
    }
}

/// Elements that are `jsonb`.
pub enum JsonbLayout {}

impl Layout for JsonbLayout {
    type Event<'a> = Object<'a>;
    const NAME: &'static str = "jsonb";

    #[inline(always)]
    fn read(payload: Payload<'_>) -> Result<Option<Object<'_>>> {
        Object::of_container(Container::read(payload.0)?)
    }
}

/// An array of elements of a layout.
pub struct ArrayOf<L>(std::marker::PhantomData<L>);

impl<L: Layout + 'static> Form for ArrayOf<L> {
    type Event<'a> = L::Event<'a>;
    type Walk<'a> = super::array::Walk<'a, L>;
    type View<'a> = View<'a>;

    fn view<'a>(value: &'a Detoasted, argument: &str) -> Result<View<'a>> {
        View::read(value.bytes(), argument)
    }

    fn walk<'a>(view: Self::View<'a>) -> Self::Walk<'a> {
        view.walk()
    }

    fn is_canonical(view: &View<'_>) -> bool {
        view.from_one
    }

    fn compact(bytes: &mut [u8], marks: &Marks) -> Result<Option<usize>> {
        let (len, start) = {
            let view = View::read(bytes, "events")?;
            if marks.count() == 0 || view.may_have_nulls() {
                return Ok(None);
            }
            (view.len, bytes.len() - view.data.len())
        };
        let Some(data) = bytes.get_mut(start..) else { return Ok(None) };
        // What is kept so far ends at `to`; the run of neighbours that is to follow is `from..at`.
        let (mut to, mut from, mut at) = (0, 0, 0);
        for position in 0..len {
            if position % POLL_EVERY == 0 {
                poll();
            }
            let (_, end) = element(L::NAME, data, at)?;
            let end = aligned(end).min(data.len());
            if !marks.get(position) {
                data.copy_within(from..at, to);
                to += at - from;
                from = end;
            }
            at = end;
        }
        data.copy_within(from..at, to);
        to += at - from;
        set_shape(bytes, marks.count());
        Ok(Some(start + to))
    }

    fn extend(first: &mut Detoasted, second: &Detoasted) -> Result<bool> {
        if first.own_bytes().is_none() {
            return Ok(false);
        }
        let behind = View::read(second.bytes(), "new_events")?;
        let (len, bytes) = {
            let view = View::read(first.bytes(), "events")?;
            if view.len == 0 || view.may_have_nulls() || behind.may_have_nulls() {
                return Ok(false);
            }
            (view.len + behind.len, first.bytes().len())
        };
        let start = aligned(bytes);
        if start + behind.data.len() > super::out::LARGEST {
            return Ok(false);
        }
        first.lengthen(start - bytes + behind.data.len());
        let Some(whole) = first.own_bytes() else { return Ok(false) };
        whole[start..].copy_from_slice(behind.data);
        set_shape(whole, len);
        Ok(true)
    }

    fn write(views: &[View<'_>], selection: &Selection) -> Result<pg_sys::Datum> {
        let first = views.first().ok_or_else(|| corrupted("array", "There is no array to write."))?;
        let mut writer = ArrayWriter::new(views, selection)?;
        match selection {
            Selection::All => writer.all()?,
            Selection::Marked(marks) => {
                let mut walk = Offsets::new(*first);
                while let Some((position, handle)) = walk.next()? {
                    if marks.get(position) {
                        writer.element(0, handle)?;
                    }
                }
            }
            Selection::Ordered(handles) => {
                for handle in handles {
                    writer.element(usize::from(handle & SECOND != 0), handle & !SECOND)?;
                }
            }
        }
        Ok(writer.finish())
    }

    fn pieces(view: View<'_>, lens: impl Iterator<Item = usize>) -> Result<Vec<pg_sys::Datum>> {
        pieces::of_array(view, lens)
    }
}

/// Writes the length and the lower bound of a one-dimensional array.
fn set_shape(bytes: &mut [u8], len: usize) {
    for (word, value) in [(4, u32::try_from(len).unwrap_or(0)), (5, 1)] {
        bytes[word * 4..word * 4 + 4].copy_from_slice(&value.to_ne_bytes());
    }
}

/// The offsets of an array's elements, without looking inside of them.
pub(super) struct Offsets<'a> {
    view: View<'a>,
    position: usize,
    offset: usize,
}

impl<'a> Offsets<'a> {
    pub(super) const fn new(view: View<'a>) -> Self {
        Self { view, position: 0, offset: 0 }
    }

    /// Where the next element begins, NULLs aside.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// The position and the handle of the next element.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(usize, u32)>> {
        if self.position >= self.view.len {
            return Ok(None);
        }
        let position = self.position;
        self.position += 1;
        if self.view.is_null(position) {
            return Ok(Some((position, NULL_HANDLE)));
        }
        let handle = u32::try_from(self.offset).map_err(|_| corrupted("array", "The array is beyond 1 GB."))?;
        self.offset = self.view.end_of(self.offset)?;
        Ok(Some((position, handle)))
    }
}

/// Writes an array; neighbours in the source are copied together.
struct ArrayWriter<'v, 'a> {
    views: &'v [View<'a>],
    out: Out,
    /// Where the bits of the NULLs start, if there are any.
    bits: Option<usize>,
    len: usize,
    run: (usize, usize, usize),
    bit_word: Vec<u8>,
}

impl<'v, 'a> ArrayWriter<'v, 'a> {
    fn new(views: &'v [View<'a>], selection: &Selection) -> Result<Self> {
        let element_type = views.first().map_or(0, |view| view.element_type);
        let most = match selection {
            Selection::All => views.iter().map(|view| view.len).sum(),
            Selection::Marked(marks) => marks.count(),
            Selection::Ordered(handles) => handles.len(),
        };
        let nulls = match selection {
            Selection::Ordered(handles) => handles.iter().any(|handle| handle & !SECOND == NULL_HANDLE),
            Selection::All => views.iter().any(View::may_have_nulls),
            Selection::Marked(marks) => views
                .iter()
                .any(|view| view.may_have_nulls() && (0..view.len).any(|at| marks.get(at) && view.is_null(at))),
        };
        let head = if most == 0 { 16 } else { head_size(1, if nulls { most } else { 0 }) };
        let data = if most == 0 { 0 } else { Self::data_size(views, selection, head)? };
        let mut out = Out::with_capacity(head + data)?;
        out.word(u32::from(most > 0));
        out.word(if nulls { u32::try_from(head).unwrap_or(0) } else { 0 });
        out.word(element_type);
        if most > 0 {
            out.word(u32::try_from(most).map_err(|_| corrupted("array", "There are too many elements."))?);
            out.word(1);
        }
        let bits = nulls.then(|| out.len());
        out.zeros_to(head);
        Ok(Self { views, out, bits, len: 0, run: (0, 0, 0), bit_word: Vec::new() })
    }

    /// Room for the elements: all of the sources', and counted exactly only when that would not fit.
    fn data_size(views: &[View<'_>], selection: &Selection, head: usize) -> Result<usize> {
        let all = views.iter().map(|view| aligned(view.data.len())).sum();
        if head + all <= super::out::LARGEST {
            return Ok(all);
        }
        let mut exact = 0;
        match selection {
            Selection::All => return Ok(all),
            Selection::Marked(marks) => {
                for view in views {
                    let mut walk = Offsets::new(*view);
                    while let Some((position, handle)) = walk.next()? {
                        if handle != NULL_HANDLE && marks.get(position) {
                            exact += walk.offset - handle as usize;
                        }
                    }
                }
            }
            Selection::Ordered(handles) => {
                for handle in handles {
                    let offset = handle & !SECOND;
                    if offset != NULL_HANDLE {
                        let view = views.get(usize::from(handle & SECOND != 0));
                        exact += view.map_or(Ok(0), |view| view.end_of(offset as usize))? - offset as usize;
                    }
                }
            }
        }
        Ok(aligned(exact))
    }

    #[inline]
    fn element(&mut self, source: usize, handle: u32) -> Result<()> {
        let present = handle != NULL_HANDLE;
        if self.bits.is_some() {
            if self.len.is_multiple_of(8) {
                self.bit_word.push(0);
            }
            if let Some(byte) = self.bit_word.last_mut() {
                *byte |= u8::from(present) << (self.len % 8);
            }
        }
        self.len += 1;
        if !present {
            return Ok(());
        }
        let offset = handle as usize;
        if self.len.is_multiple_of(POLL_EVERY) {
            poll();
        }
        let Some(view) = self.views.get(source) else { return Ok(()) };
        let end = view.end_of(offset)?;
        if (self.run.0, self.run.2) == (source, offset) {
            self.run.2 = end;
        } else {
            self.flush();
            self.run = (source, offset, end);
        }
        Ok(())
    }

    /// Copies the run of neighbours that has gathered.
    fn flush(&mut self) {
        let (source, start, end) = self.run;
        if let Some(bytes) = self.views.get(source).and_then(|view| view.data.get(start..end)) {
            self.out.bytes(bytes);
            // The last element of a source may lack the padding that the next one here needs.
            self.out.zeros_to(aligned(self.out.len()));
        }
        self.run = (source, end, end);
    }

    fn all(&mut self) -> Result<()> {
        if self.bits.is_none() {
            for view in self.views {
                self.out.bytes(view.data);
                self.out.zeros_to(aligned(self.out.len()));
            }
            return Ok(());
        }
        for source in 0..self.views.len() {
            let mut walk = Offsets::new(self.views[source]);
            while let Some((_, handle)) = walk.next()? {
                self.element(source, handle)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> pg_sys::Datum {
        self.flush();
        if let Some(at) = self.bits {
            self.out.overwrite(at, &self.bit_word);
        }
        self.out.into_datum()
    }
}
