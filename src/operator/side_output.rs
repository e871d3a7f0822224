//! Side outputs: further streams that leave an operator beside its main one.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_actors::protocol::Timestamp;

/// Names a side output and the type of its records. Follows Flink's `OutputTag`.
///
/// Two tags are one side output if they have one name; in one operator a name has one type.
///
/// ```
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (numbers, refused) = (CollectSink::new(), CollectSink::new());
/// let (parsed, unparsed) = (numbers.handle(), refused.handle());
///
/// let no_number = OutputTag::<String>::new("no number");
/// let tag = no_number.clone();
/// let env = StreamEnvironment::new("parse");
/// let stream = env
///     .source("texts", VecSource::new(["7", "x", "9"].map(str::to_owned).to_vec()))
///     .flat_map(move |text: String, out| match text.parse::<u32>() {
///         Ok(number) => out.emit(number),
///         Err(_) => out.emit_to(&tag, text),
///     });
/// stream.side_output(&no_number).sink("refused", refused);
/// stream.sink("numbers", numbers);
/// env.start()?.await?;
///
/// assert_eq!(parsed.snapshot(), [7, 9]);
/// assert_eq!(unparsed.snapshot(), ["x"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct OutputTag<T> {
    name: Arc<str>,
    of: PhantomData<fn() -> T>,
}

impl<T: Send + 'static> OutputTag<T> {
    /// A tag with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), of: PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputTag({})", self.name)
    }
}

/// The side outputs of one operator instance.
#[derive(Default)]
pub struct SideOutputs {
    connected: Vec<Connected>,
    /// Takes the records of all tags that are not connected.
    others: Option<TakesAny>,
}

type TakesAny = Box<dyn FnMut(&Arc<str>, Box<dyn Any>)>;

/// Takes the records of a tag, with their event times or [`NO_TIME`](crate::NO_TIME).
pub(crate) type Emit<T> = Box<dyn FnMut(T, Timestamp)>;

struct Connected {
    name: Arc<str>,
    /// An `Emit<T>` of the tag's type.
    emit: Box<dyn Any>,
}

impl SideOutputs {
    /// Connects the tag: its records go to `emit`, with their event times or [`NO_TIME`](crate::NO_TIME).
    pub fn connect<T: 'static>(&mut self, name: Arc<str>, emit: impl FnMut(T, Timestamp) + 'static) {
        let emit: Emit<T> = Box::new(emit);
        self.connected.push(Connected { name, emit: Box::new(emit) });
    }

    /// Takes what is connected to the tag of this name, if that has records of this type.
    pub(crate) fn take<T: 'static>(&mut self, name: &str) -> Option<Emit<T>> {
        let is_it = |connected: &Connected| *connected.name == *name && connected.emit.is::<Emit<T>>();
        let place = self.connected.iter().position(is_it)?;
        self.connected.swap_remove(place).emit.downcast().ok().map(|emit| *emit)
    }

    /// Connects all tags that are not connected by themselves: name and record go to `emit`.
    pub(crate) fn connect_others(&mut self, emit: impl FnMut(&Arc<str>, Box<dyn Any>) + 'static) {
        self.others = Some(Box::new(emit));
    }

    /// Emits a record with this event time, or [`NO_TIME`](crate::NO_TIME). Dropped if nobody consumes the tag.
    ///
    /// # Panics
    /// If the tag's name is in use with another type; the graph is checked for this where the tags are known to it.
    pub fn emit<T: 'static>(&mut self, tag: &OutputTag<T>, record: T, time: Timestamp) {
        if let Some(connected) = self.connected.iter_mut().find(|connected| connected.name == tag.name) {
            let emit = connected.emit.downcast_mut::<Emit<T>>();
            emit.unwrap_or_else(|| panic!("side output '{}' is used with two record types", tag.name))(record, time);
        } else if let Some(others) = &mut self.others {
            others(&tag.name, Box::new(record));
        }
    }
}

impl fmt::Debug for SideOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.connected.iter().map(|connected| &connected.name)).finish()
    }
}
