//! The state of `event_array_agg`: events one behind the other in a value that doubles when it is full, after the
//! copies that lost have been dropped from it.
//!
//! Layout after the length word, numbers in the machine's order: bytes used `u32`, events `u32`, lengths of the two keys
//! `u32` each, the keys, and from the next multiple of 8 on the elements as in an array. The value's length is its
//! capacity.

use eventkit_core::arrange;
use eventkit_core::dedupe::{Index, Options, no_memory};
use eventkit_core::error::{Condition, Error, Result};
use eventkit_core::event::{Event, Events, Key, Poll, for_each};
use eventkit_core::selection::Selection;
use eventkit_core::value::Value;
use pgrx::pg_sys;

use super::array::{Layout, View};
use super::form::{ArrayOf, Form};
use super::jsonb::{Container, Object};
use super::out::LARGEST;
use super::types::EventArray;
use super::varlena::{aligned, corrupted, word};

const HEAD: usize = 16;
const FIRST_ROOM: usize = 1024;

/// Events gathered so far, by value.
pub struct Gathered<'b> {
    bytes: &'b [u8],
    elements: usize,
}

/// A state of no events.
pub fn empty(id_key: &str, time_key: &str) -> Result<Vec<u8>> {
    let key = |key: &str| u32::try_from(key.len()).map_err(|_| too_large());
    let elements = elements_at(id_key.len() + time_key.len());
    let mut bytes = Vec::with_capacity(elements + FIRST_ROOM);
    for number in [u32::try_from(elements).map_err(|_| too_large())?, 0, key(id_key)?, key(time_key)?] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(id_key.bytes().chain(time_key.bytes()));
    bytes.resize(elements + FIRST_ROOM, 0);
    Ok(bytes)
}

const fn elements_at(keys: usize) -> usize {
    (HEAD + keys + 7) & !7
}

fn too_large() -> Error {
    Error::new(Condition::ProgramLimitExceeded, "event array too large")
        .detail(format!("The events of one group may take {LARGEST} bytes together."))
        .hint("Group by user and day, so that each array stays small.")
}

fn set(bytes: &mut [u8], at: usize, number: usize) -> Result<()> {
    let number = u32::try_from(number).map_err(|_| too_large())?;
    bytes
        .get_mut(at..at + 4)
        .map(|place| place.copy_from_slice(&number.to_ne_bytes()))
        .ok_or_else(|| corrupted("aggregate state", "It ends within its head."))
}

impl<'b> Gathered<'b> {
    /// Reads a state. Errors: `XX001`.
    pub fn read(bytes: &'b [u8]) -> Result<Self> {
        let broken = || {
            Error::new(Condition::InvalidParameterValue, "not a state of event_array_agg")
                .detail("The bytes were made by something else.")
                .hint("Call event_array_agg, not its support functions.")
        };
        let at = |index: usize| word(bytes, index * 4).map(|number| number as usize).ok_or_else(broken);
        let elements = elements_at(at(2)?.checked_add(at(3)?).ok_or_else(broken)?);
        if at(0)? < elements || at(0)? > bytes.len() {
            return Err(broken());
        }
        Ok(Self { bytes, elements })
    }

    fn number(&self, index: usize) -> usize {
        word(self.bytes, index * 4).unwrap_or(0) as usize
    }

    fn key(&self, from: usize, len: usize) -> &'b str {
        self.bytes.get(from..from + len).and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default()
    }

    /// The key that holds an event's id.
    pub fn id_key(&self) -> &'b str {
        self.key(HEAD, self.number(2))
    }

    /// The key that holds an event's time.
    pub fn time_key(&self) -> &'b str {
        self.key(HEAD + self.number(2), self.number(3))
    }

    /// Refuses other keys than the state was begun with. Errors: `22023`.
    pub fn check_keys(&self, id_key: &str, time_key: &str) -> Result<()> {
        if self.id_key() == id_key && self.time_key() == time_key {
            return Ok(());
        }
        Err(Error::new(
            Condition::InvalidParameterValue,
            "id_key and time_key must be the same for all events of a group",
        )
        .detail(format!(
            "They were \"{}\" and \"{}\", and now are \"{id_key}\" and \"{time_key}\".",
            self.id_key(),
            self.time_key()
        ))
        .hint("Give constants, or GROUP BY the keys as well."))
    }

    /// The events as an array of a type.
    pub fn view(&self, element_type: u32) -> View<'b> {
        let data = self.bytes.get(self.elements..self.number(0)).unwrap_or_default();
        View::of_elements(element_type, self.number(1), data)
    }

    /// Room left.
    fn room(&self) -> usize {
        self.bytes.len() - self.number(0)
    }

    /// The array of all events, deduplicated and in order of time. The element type is that of the array which the
    /// calling function is declared to return.
    pub fn finish<L: Layout + 'static, A: EventArray<Form = ArrayOf<L>>>(
        &self,
        fcinfo: pg_sys::FunctionCallInfo,
        options: Options,
        poll: Poll<'_>,
    ) -> Result<A> {
        // SAFETY: the server calls with a valid call frame; the rest are catalog look-ups.
        let element_type = unsafe { pg_sys::get_element_type(pg_sys::get_func_rettype((*(*fcinfo).flinfo).fn_oid)) };
        let view = self.view(element_type.to_u32());
        let mut walk = [("events", view.walk::<L>())];
        let selection = arrange::append(&mut walk, self.id_key(), self.time_key(), options, poll)?;
        let datum = ArrayOf::<L>::write(&[view], &selection)?;
        // SAFETY: the array has the element type of the declared result.
        Ok(unsafe { A::wrap(datum) })
    }

    /// The state without the copies that lost, with at least so much room behind.
    fn grown<L: Layout + 'static>(&self, needed: usize, options: Options, poll: Poll<'_>) -> Result<Vec<u8>> {
        let view = self.view(0);
        let mut index = Index::new(options, view.len);
        let mut id_key = Key::new(self.id_key());
        for_each(&mut view.walk::<L>(), "events", poll, |_, element| {
            let id = match &element.event {
                Some(event) => event.get(&mut id_key)?,
                None => Value::Null,
            };
            index.push(element.handle, id)
        })?;
        let selection = index.finish();
        let mut live = self.elements + view.data.len();
        if let Selection::Ordered(handles) = &selection {
            live = self.elements;
            for handle in handles {
                live += aligned(view.end_of(*handle as usize)? - *handle as usize);
            }
        }
        let most = LARGEST - 4;
        let least = live.checked_add(needed).filter(|least| *least <= most).ok_or_else(too_large)?;
        let capacity = (least * 2).max(self.bytes.len()).min(most);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity).map_err(|_| no_memory())?;
        bytes.extend_from_slice(self.bytes.get(..self.elements).unwrap_or_default());
        let mut count = view.len;
        match selection {
            Selection::All | Selection::Marked(_) => bytes.extend_from_slice(view.data),
            Selection::Ordered(handles) => {
                count = handles.len();
                for handle in handles {
                    let from = handle as usize;
                    bytes.extend_from_slice(view.data.get(from..view.end_of(from)?).unwrap_or_default());
                    bytes.resize(aligned(bytes.len()), 0);
                }
            }
        }
        let used = bytes.len();
        set(&mut bytes, 0, used)?;
        set(&mut bytes, 4, count)?;
        bytes.resize(capacity, 0);
        Ok(bytes)
    }
}

/// Appends an element, given as its bytes after the header. `None` when the state has to grow first.
fn try_push(bytes: &mut [u8], payload: &[u8]) -> Result<Option<()>> {
    let state = Gathered::read(bytes)?;
    let (used, count) = (state.number(0), state.number(1));
    let end = used + aligned(4 + payload.len());
    if end > bytes.len() {
        return Ok(None);
    }
    let header = u32::try_from(4 + payload.len()).map_err(|_| too_large())? << 2;
    if let Some(place) = bytes.get_mut(used..end) {
        let (head, rest) = place.split_at_mut(4);
        head.copy_from_slice(&header.to_ne_bytes());
        let (body, padding) = rest.split_at_mut(payload.len());
        body.copy_from_slice(payload);
        padding.fill(0);
    }
    set(bytes, 0, end)?;
    set(bytes, 4, count + 1)?;
    Ok(Some(()))
}

/// Appends an element; gives the bytes of a larger state when this one was too small. Amortised O(length).
pub fn push<L: Layout + 'static>(
    bytes: &mut [u8],
    payload: &[u8],
    options: Options,
    poll: Poll<'_>,
) -> Result<Option<Vec<u8>>> {
    if try_push(bytes, payload)?.is_some() {
        return Ok(None);
    }
    let mut grown = Gathered::read(bytes)?.grown::<L>(payload.len() + 8, options, poll)?;
    try_push(&mut grown, payload)?.ok_or_else(too_large)?;
    Ok(Some(grown))
}

/// Appends all elements of an array at once; as [`push`].
pub fn extend<L: Layout + 'static>(
    bytes: &mut [u8],
    view: &View<'_>,
    options: Options,
    poll: Poll<'_>,
) -> Result<Option<Vec<u8>>> {
    let mut grown: Option<Vec<u8>> = None;
    if Gathered::read(bytes)?.room() < view.data.len() + 8 {
        grown = Some(Gathered::read(bytes)?.grown::<L>(view.data.len() + 8, options, &mut *poll)?);
    }
    let target = grown.as_deref_mut().unwrap_or(bytes);
    let mut walk = view.walk::<L>();
    let mut position = 0;
    loop {
        position += 1;
        // Reading the element as an event is what refuses one that is none.
        let read = walk.next().map_err(|error| eventkit_core::event::in_element(error, "events", position));
        let Some(element) = read? else { break };
        if position % eventkit_core::event::POLL_EVERY == 0 {
            poll();
        }
        if element.event.is_some() {
            let (payload, _) = super::varlena::element(L::NAME, view.data, element.handle as usize)?;
            try_push(target, payload.0)?.ok_or_else(too_large)?;
        }
    }
    Ok(grown)
}

/// Appends all elements of a JSON array; as [`push`].
pub fn extend_document(
    bytes: &mut [u8],
    container: Container<'_>,
    options: Options,
    poll: Poll<'_>,
) -> Result<Option<Vec<u8>>> {
    let mut grown: Option<Vec<u8>> = None;
    for (position, child) in container.children().enumerate() {
        let value = child?.value;
        let at = |error| eventkit_core::event::in_element(error, "events", position + 1);
        if let (Some(_), Value::Document(document)) = (Object::of_value(&value).map_err(at)?, value) {
            let target = grown.as_deref_mut().unwrap_or(bytes);
            if let Some(larger) = push::<super::form::JsonbLayout>(target, document.bytes, options, &mut *poll)? {
                grown = Some(larger);
            }
        }
    }
    Ok(grown)
}
