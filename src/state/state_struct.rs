//! Sets of states with names instead of places.

/// Defines a struct of states, for functions that have more than a tuple takes, or whose states are better named.
///
/// The struct is a [`StateSet`](crate::state::StateSet) whose handles are fields of the same names. Each field is a
/// [`State`](crate::state::State) and as visible as it is declared; its name in snapshots is the one that it is made
/// with. The struct has no type parameters.
///
/// ```
/// use millstream::operator::Output;
/// use millstream::prelude::*;
///
/// state_set! {
///     /// What is known of a flight.
///     pub struct Flight {
///         pub departures: ValueState<u64>,
///         pub arrivals: ValueState<u64>,
///         pub diverted: ValueState<u64>,
///         pub cancelled: ValueState<u64>,
///         pub delay: ReducingState<i64>,
///         pub longest: ReducingState<i64>,
///         pub shortest: ReducingState<i64>,
///         /// The last ones.
///         pub delays: ListState<i64>,
///         pub airports: MapState<String, u64>,
///     }
/// }
///
/// #[derive(Clone)]
/// struct Delays;
///
/// impl KeyedProcessFunction<u32, (u32, String, i64)> for Delays {
///     type Out = (u32, u64, i64, i64);
///     type State = Flight;
///
///     fn state(&self) -> Flight {
///         Flight {
///             departures: ValueState::new("departures"),
///             arrivals: ValueState::new("arrivals"),
///             diverted: ValueState::new("diverted"),
///             cancelled: ValueState::new("cancelled"),
///             delay: ReducingState::new("delay", |a, b| a + b),
///             longest: ReducingState::new("longest", i64::max),
///             shortest: ReducingState::new("shortest", i64::min),
///             delays: ListState::new("delays"),
///             airports: MapState::new("airports"),
///         }
///     }
///
///     fn process(
///         &mut self,
///         (flight, airport, delay): (u32, String, i64),
///         mut states: Row<'_, Self, u32, (u32, String, i64)>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Output<Self::Out>,
///     ) {
///         *states.arrivals.get_or_insert_with(|| 0) += 1;
///         *states.airports.get_or_insert_with(airport, || 0) += 1;
///         states.delays.push(delay);
///         let (total, longest) = (*states.delay.add(delay), *states.longest.add(delay));
///         out.emit((flight, states.arrivals.get().copied().unwrap_or(0), total, longest));
///     }
/// }
///
/// # millstream::testing::OperatorHarness::keyed(
/// #     millstream::operator::ByValue::new(|record: &(u32, String, i64)| record.0),
/// #     Delays,
/// # )
/// # .batch([(1, "OSL".to_owned(), 5), (2, "OSL".to_owned(), 1), (1, "BGO".to_owned(), -2)])
/// # .check_by(|out| out.0, [(1, 1, 5, 5), (2, 1, 1, 1), (1, 2, 3, 5)]);
/// ```
#[macro_export]
macro_rules! state_set {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $set:ident {
            $($(#[$field_attribute:meta])* $field_vis:vis $field:ident: $state:ty),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        $vis struct $set {
            $($(#[$field_attribute])* $field_vis $field: $state,)+
        }

        const _: () = {
            /// The slots of one key.
            #[derive(Default)]
            $vis struct StateSetRow {
                $($field: <$state as $crate::state::State>::Slot,)+
            }

            /// The handles of one key's states.
            $vis struct StateSetHandles<'a> {
                $($(#[$field_attribute])* $field_vis $field: <$state as $crate::state::State>::Handle<'a>,)+
            }

            impl $crate::state::StateSet for $set {
                type Row = StateSetRow;
                type Handles<'a> = StateSetHandles<'a>;

                fn names(&self) -> ::std::vec::Vec<::std::sync::Arc<str>> {
                    ::std::vec![$($crate::state::State::name(&self.$field).clone()),+]
                }

                fn formats(&self) -> ::std::vec::Vec<$crate::state::StateFormat> {
                    ::std::vec![$($crate::state::State::format(&self.$field)),+]
                }

                #[inline]
                fn handles<'a>(&'a self, row: &'a mut StateSetRow, access: $crate::state::Access) -> StateSetHandles<'a> {
                    StateSetHandles { $($field: $crate::state::State::handle(&self.$field, &mut row.$field, access),)+ }
                }

                #[inline]
                fn stamp(row: &StateSetRow) -> $crate::state::Stamp {
                    let mut stamp = 0;
                    $(stamp = ::std::cmp::Ord::max(stamp, <$state as $crate::state::State>::stamp(&row.$field));)+
                    stamp
                }

                #[inline]
                fn is_clear(row: &StateSetRow) -> bool {
                    $(<$state as $crate::state::State>::is_clear(&row.$field))&&+
                }

                #[inline]
                fn touch(row: &mut StateSetRow, span: $crate::state::Span, stamp: $crate::state::Stamp) {
                    $(<$state as $crate::state::StateSet>::touch(&mut row.$field, span, stamp);)+
                }

                #[inline]
                fn capture<K: $crate::state::StateKey>(
                    &self,
                    key: &K,
                    row: &mut StateSetRow,
                    span: $crate::state::Span,
                    pieces: &mut [$crate::state::PieceBuffer],
                ) -> ::std::result::Result<usize, (usize, ::std::string::String)> {
                    let mut bytes = 0;
                    let mut pieces = ::std::iter::Iterator::enumerate(pieces.chunks_exact_mut(1));
                    $(if let Some((index, piece)) = ::std::iter::Iterator::next(&mut pieces) {
                        bytes += $crate::state::StateSet::capture(&self.$field, key, &mut row.$field, span, piece)
                            .map_err(|(_, reason)| (index, reason))?;
                    })+
                    ::std::result::Result::Ok(bytes)
                }

                #[inline]
                fn load(
                    &self,
                    index: usize,
                    row: &mut StateSetRow,
                    stamp: $crate::state::Stamp,
                    stored: $crate::state::StateFormat,
                    is_delta: bool,
                    bytes: &mut &[u8],
                ) -> ::std::result::Result<(), ::std::string::String> {
                    let mut left = index;
                    $(match left.checked_sub(1) {
                        ::std::option::Option::Some(less) => left = less,
                        ::std::option::Option::None => {
                            let (state, slot) = (&self.$field, &mut row.$field);
                            return $crate::state::StateSet::load(state, 0, slot, stamp, stored, is_delta, bytes);
                        }
                    })+
                    ::std::panic!("state {index} of a set that has fewer by {left}")
                }

                fn unload(index: usize, row: &mut StateSetRow) {
                    let mut left = index;
                    $(match left.checked_sub(1) {
                        ::std::option::Option::Some(less) => left = less,
                        ::std::option::Option::None => {
                            return <$state as $crate::state::StateSet>::unload(0, &mut row.$field);
                        }
                    })+
                    ::std::panic!("state {index} of a set that has fewer by {left}")
                }

                fn spill(
                    &self,
                    row: &mut StateSetRow,
                    of_row: $crate::state::Stamp,
                    bytes: &mut ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<(), (usize, ::std::string::String)> {
                    let mut index = 0..;
                    $(if let Some(index) = ::std::iter::Iterator::next(&mut index) {
                        $crate::state::StateSet::spill(&self.$field, &mut row.$field, of_row, bytes)
                            .map_err(|(_, reason)| (index, reason))?;
                    })+
                    ::std::result::Result::Ok(())
                }

                fn unspill(
                    &self,
                    row: &mut StateSetRow,
                    of_row: $crate::state::Stamp,
                    bytes: &mut &[u8],
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $($crate::state::StateSet::unspill(&self.$field, &mut row.$field, of_row, bytes)?;)+
                    ::std::result::Result::Ok(())
                }

                fn writes_parts(&self) -> bool {
                    $($crate::state::State::writes_parts(&self.$field))||+
                }

                fn check(&self) -> ::std::vec::Vec<(::std::sync::Arc<str>, ::std::string::String)> {
                    let mut found = ::std::vec::Vec::new();
                    $(::std::iter::Extend::extend(&mut found, $crate::state::StateSet::check(&self.$field));)+
                    found
                }

                #[inline]
                fn expires(&self) -> bool {
                    $($crate::state::State::expires(&self.$field))||+
                }

                #[inline]
                fn is_due(&self, row: &StateSetRow, access: $crate::state::Access) -> bool {
                    $($crate::state::State::is_due(&self.$field, &row.$field, access))||+
                }

                #[inline]
                fn settle(&self, row: &mut StateSetRow, stamp: $crate::state::Stamp) {
                    $($crate::state::State::settle(&self.$field, &mut row.$field, stamp);)+
                }

                #[inline]
                fn expire(&self, row: &mut StateSetRow, access: $crate::state::Access) {
                    $($crate::state::State::expire(&self.$field, &mut row.$field, access);)+
                }
            }
        };
    };
}

#[cfg(test)]
#[path = "state_struct_tests.rs"]
mod tests;
