//! Runs the same work on Millstream, Timely Dataflow, Renoir and a plain loop, and compares. See README.md.

mod args;
mod engines;
mod events;
mod measure;
mod nexmark;
mod numbers;
mod plan;
mod plot;
mod rounds;
mod series;
mod table;
mod text;
mod total;

use std::fs;
use std::process::ExitCode;

use args::{Args, Output};

fn main() -> ExitCode {
    match args::parse().and_then(carry_out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: Args) -> Result<(), String> {
    if args.is_once {
        let (plan, contender) = rounds::the_only(&args)?;
        println!("{}", series::to_json(&engines::run(plan, contender)));
        return Ok(());
    }
    let all = if args.from.is_empty() { rounds::run(&args)? } else { series::read(&args.from)? };
    match args.output {
        Output::Json => all.iter().for_each(|series| println!("{}", series::to_json(series))),
        Output::Tables => print!("{}", table::tables(&all)),
    }
    if let Some(path) = &args.svg {
        fs::write(path, plot::svg(&all)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
