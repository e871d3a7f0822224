//! Depth first through every order in which things can happen.

use std::collections::HashSet;

use crate::links::Links;
use crate::scenario::Scenario;
use crate::world::{Move, Violation, World};

/// Keeps a run short: 300,000 states take some 6 s in a debug build.
const STATES_MAX: usize = 300_000;

/// What was explored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) states: usize,
    pub(crate) moves: usize,
    /// Length of the longest way.
    pub(crate) depth: usize,
    /// States in which nothing can happen any more.
    pub(crate) ends: usize,
    /// Such states in which the last checkpoint was completed.
    pub(crate) ends_with_all: usize,
}

/// A broken promise, and how it comes about.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) violation: Violation,
    pub(crate) way: Vec<Move>,
}

struct Level {
    world: World,
    made: Option<Move>,
    left: Vec<Move>,
}

/// Visits every state that can be reached.
pub(crate) fn explore(scenario: &Scenario) -> Result<Figures, Box<Counterexample>> {
    let links = Links::of(&scenario.graph);
    let mut figures = Figures::default();
    let mut visited = HashSet::new();
    let mut way: Vec<Level> = Vec::new();
    let mut next = Some((World::new(scenario, &links), None));
    loop {
        if let Some((world, made)) = next.take()
            && visited.insert(world.hash())
        {
            assert!(visited.len() <= STATES_MAX, "more than {STATES_MAX} states: {scenario:?}");
            let left = world.moves(scenario, &links);
            if let Err(violation) = world.check_at_rest(scenario, &left) {
                return Err(counterexample(violation, &way, made));
            }
            let left = world.essential(scenario, &links, left);
            if left.is_empty() {
                figures.ends += 1;
                figures.ends_with_all += usize::from(world.completed() == scenario.checkpoints);
            }
            way.push(Level { world, made, left });
            figures.depth = figures.depth.max(way.len());
        }
        let Some(level) = way.last_mut() else { break };
        let Some(chosen) = level.left.pop() else {
            way.pop();
            continue;
        };
        figures.moves += 1;
        let mut world = level.world.clone();
        if let Err(violation) = world.make(scenario, &links, chosen) {
            return Err(counterexample(violation, &way, Some(chosen)));
        }
        next = Some((world, Some(chosen)));
    }
    figures.states = visited.len();
    Ok(figures)
}

fn counterexample(violation: Violation, way: &[Level], last: Option<Move>) -> Box<Counterexample> {
    let way = way.iter().filter_map(|level| level.made).chain(last).collect();
    Box::new(Counterexample { violation, way })
}
