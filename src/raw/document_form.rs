//! The form `jsonb`: one value that is an array of objects, walked and written anew.

use eventkit_core::arrange::SECOND;
use eventkit_core::dedupe::no_memory;
use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::{Element, Events, POLL_EVERY};
use eventkit_core::selection::Selection;
use pgrx::pg_sys;

use super::form::Form;
use super::jsonb::{Child, Children, Container, HAS_OFFSET, LENGTH, Object, STRIDE};
use super::out::Out;
use super::pieces;
use super::server::poll;
use super::varlena::{Detoasted, aligned};

/// A `jsonb` value that is an array of objects.
pub enum JsonbDocument {}

/// A walk over the elements of a JSON array.
pub struct DocumentWalk<'a> {
    children: Children<'a>,
    position: u32,
    len: usize,
}

impl<'a> Events<'a> for DocumentWalk<'a> {
    type Event = Object<'a>;

    #[inline]
    fn next(&mut self) -> Result<Option<Element<Object<'a>>>> {
        let Some(child) = self.children.next() else { return Ok(None) };
        let handle = self.position;
        self.position += 1;
        Ok(Some(Element { handle, event: Object::of_value(&child?.value)? }))
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Form for JsonbDocument {
    type Event<'a> = Object<'a>;
    type Walk<'a> = DocumentWalk<'a>;
    type View<'a> = Container<'a>;

    fn view<'a>(value: &'a Detoasted, argument: &str) -> Result<Container<'a>> {
        let bytes = value.payload();
        Container::check_array(bytes, argument)?;
        Container::read(bytes)
    }

    fn walk<'a>(view: Self::View<'a>) -> Self::Walk<'a> {
        DocumentWalk { children: view.children(), position: 0, len: view.len() }
    }

    fn is_canonical(_: &Container<'_>) -> bool {
        true
    }

    fn write(views: &[Container<'_>], selection: &Selection) -> Result<pg_sys::Datum> {
        let kept = match selection {
            Selection::All => views.iter().map(Container::len).sum(),
            Selection::Marked(marks) => marks.count(),
            Selection::Ordered(handles) => handles.len(),
        };
        let mut writer = DocumentWriter::new(views, kept, views.iter().map(Container::data_len).sum())?;
        match selection {
            Selection::All => {
                for (source, view) in views.iter().enumerate() {
                    for child in view.children() {
                        writer.child(source, &child?)?;
                    }
                }
            }
            Selection::Marked(marks) => {
                for (position, child) in views.first().into_iter().flat_map(|view| view.children()).enumerate() {
                    let child = child?;
                    if marks.get(position) {
                        writer.child(0, &child)?;
                    }
                }
            }
            Selection::Ordered(handles) => {
                // One walk over each source's entries, so that any order costs O(1) an element.
                let mut children = Vec::with_capacity(views.len());
                for view in views {
                    let mut list = Vec::new();
                    list.try_reserve_exact(view.len()).map_err(|_| no_memory())?;
                    for child in view.children() {
                        list.push(child?);
                    }
                    children.push(list);
                }
                for handle in handles {
                    let source = usize::from(handle & SECOND != 0);
                    if let Some(child) = children.get(source).and_then(|list| list.get((handle & !SECOND) as usize)) {
                        writer.child(source, child)?;
                    }
                }
            }
        }
        Ok(writer.finish())
    }

    fn pieces(view: Container<'_>, lens: impl Iterator<Item = usize>) -> Result<Vec<pg_sys::Datum>> {
        pieces::of_document(view, lens)
    }
}

/// Writes a `jsonb` array: entries first, in the room kept for them, and the children's bytes behind.
pub(super) struct DocumentWriter<'v, 'a> {
    views: &'v [Container<'a>],
    out: Out,
    written: usize,
    /// Where the children's bytes start.
    data: usize,
    run: (usize, usize, usize),
    /// Where the data will end when the run is copied.
    end: usize,
}

impl<'v, 'a> DocumentWriter<'v, 'a> {
    /// Room for so many children, whose bytes take at most so much in the sources.
    pub(super) fn new(views: &'v [Container<'a>], kept: usize, data: usize) -> Result<Self> {
        let count = u32::try_from(kept).ok().filter(|count| *count <= LENGTH).ok_or_else(too_large)?;
        // An element that leaves its neighbours may need 3 bytes of padding that it did not have before.
        let mut out = Out::with_capacity(8 + kept * 4 + data + kept * 3)?;
        out.word(Container::array_head(count));
        out.zeros_to(8 + kept * 4);
        let data = out.len();
        Ok(Self { views, out, written: 0, data, run: (0, 0, 0), end: 0 })
    }

    pub(super) fn child(&mut self, source: usize, child: &Child<'_>) -> Result<()> {
        if self.written.is_multiple_of(POLL_EVERY) {
            poll();
        }
        let start = self.end;
        if (self.run.0, self.run.2) == (source, child.start) && self.run.1 != child.start {
            self.run.2 = child.end;
            self.end = start + (child.end - child.start);
        } else {
            self.flush();
            // Only objects and nulls are events; a null has no bytes and breaks no run's alignment.
            let from = if child.end > child.start { aligned(child.start) } else { child.start };
            let at = if child.end > child.start { aligned(start) } else { start };
            self.out.zeros_to(self.data + at);
            self.run = (source, from, child.end);
            self.end = at + (child.end - from);
        }
        // The server reads no more than this many bytes of children, wherever the end is written down.
        if self.end > LENGTH as usize {
            return Err(too_large());
        }
        let length = if self.written.is_multiple_of(STRIDE) { self.end } else { self.end - start };
        let length = u32::try_from(length).map_err(|_| too_large())?;
        let offset = if self.written.is_multiple_of(STRIDE) { HAS_OFFSET } else { 0 };
        self.out.patch(8 + self.written * 4, child.entry & !(LENGTH | HAS_OFFSET) | length | offset);
        self.written += 1;
        Ok(())
    }

    fn flush(&mut self) {
        let (source, start, end) = self.run;
        if let Some(bytes) = self.views.get(source).and_then(|view| view.data_slice(start, end)) {
            self.out.bytes(bytes);
        }
        self.run = (source, end, end);
    }

    pub(super) fn finish(mut self) -> pg_sys::Datum {
        self.flush();
        self.out.into_datum()
    }
}

fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "event array too large for jsonb")
        .detail("The elements of a jsonb array may take 268435455 bytes together.")
        .hint("Store events as jsonb[], which may take 1 GB, or in several arrays, one a day for example.")
}
