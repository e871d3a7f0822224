//! Sets of states with names instead of places.

/// Defines a struct of states, for functions that have more than a tuple takes, or whose states are better named.
///
/// The struct is a [`StateSet`](crate::state::StateSet) whose handles are fields of the same names. Each field is a
/// [`State`](crate::state::State) and as visible as it is declared; its name in snapshots is the one that it is made
/// with. The struct has no type parameters.
///
/// ```
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
///         out: &mut Emitter<'_, Self::Out>,
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
            use $crate::state::internal::{Access, SlotVisitor, StateVisitor};
            use $crate::state::{State, StateSet};

            /// The slots of one key.
            #[derive(Default)]
            $vis struct StateSetRow {
                $($field: <$state as State>::Slot,)+
            }

            /// The handles of one key's states.
            $vis struct StateSetHandles<'a> {
                $($(#[$field_attribute])* $field_vis $field: <$state as State>::Handle<'a>,)+
            }

            /// The states in the order of declaration.
            #[allow(non_camel_case_types, reason = "they are named as the fields are")]
            enum Index {
                $($field,)+
            }

            impl StateSet for $set {
                const EXPIRES: bool = $(<$state as State>::EXPIRES)||+;
                const HAS_TIMERS: bool = $(<$state as State>::HAS_TIMERS)||+;
                const HAS_PAGES: bool = $(<$state as State>::HAS_PAGES)||+;

                type Row = StateSetRow;
                type Handles<'a> = StateSetHandles<'a>;

                #[inline]
                fn handles<'a>(&'a self, row: &'a mut StateSetRow, access: Access) -> StateSetHandles<'a> {
                    StateSetHandles { $($field: self.$field.handle(&mut row.$field, access),)+ }
                }

                #[inline]
                fn visit<V: StateVisitor>(&self, row: &mut StateSetRow, visitor: &mut V) {
                    $(visitor.visit(Index::$field as usize, &self.$field, &mut row.$field);)+
                }

                #[inline]
                fn visit_slots<V: SlotVisitor>(row: &StateSetRow, visitor: &mut V) {
                    $(visitor.visit(&row.$field);)+
                }
            }
        };
    };
}

#[cfg(test)]
#[path = "state_struct_tests.rs"]
mod tests;
