//! What the command line promises.

use super::*;

fn every_command() -> Vec<clap::Command> {
    fn walk(command: &clap::Command, into: &mut Vec<clap::Command>) {
        into.push(command.clone());
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(inner, into);
        }
    }
    let mut commands = Vec::new();
    let mut whole = command_line();
    whole.build();
    walk(&whole, &mut commands);
    commands
}

#[test]
fn the_command_line_is_consistent() {
    command_line().debug_assert();
}

#[test]
fn every_command_shows_two_examples_and_its_exit_codes() {
    for mut command in every_command() {
        let name = command.get_name().to_owned();
        let help = command.render_help().to_string();
        let (_, after) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples"));
        let (examples, codes) = after.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{name} has no exit codes"));
        assert_eq!(examples.lines().filter(|line| line.contains("chaperone ")).count(), 2, "{name}: {examples}");
        assert!(codes.lines().filter(|line| line.starts_with("  ")).count() >= 2, "{name}: {codes}");
    }
}

#[test]
fn the_examples_are_understood() {
    for mut command in every_command() {
        let help = command.render_help().to_string();
        let examples = help.split("Examples:\n").nth(1).unwrap().split("Exit codes:").next().unwrap();
        assert!(examples.lines().all(|line| line.chars().count() < 100), "{examples}");
        // A whole session goes on a line of its own.
        let examples = examples.replace("\\\n", " ");
        for example in examples.lines().filter(|line| !line.trim().is_empty()) {
            let words = example.split("chaperone ").nth(1).unwrap().split(['>', '|', ')']).next().unwrap();
            let words = std::iter::once("chaperone").chain(words.split_whitespace());
            assert!(Cli::try_parse_from(words).is_ok(), "{example}");
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let exits = [
        (Exit::Done, 0),
        (Exit::CannotRun, 1),
        (Exit::Usage, 2),
        (Exit::Denied, 2),
        (Exit::Invalid, 3),
        (Exit::CasesFailed, 4),
        (Exit::Changed, 5),
        (Exit::TrailBroken, 6),
    ];
    for (exit, code) in exits {
        assert_eq!(exit.code(), code, "{exit:?}");
    }
}

#[test]
fn a_default_that_the_help_adds_by_itself_is_not_said_twice() {
    for command in every_command() {
        for argument in command.get_arguments().filter(|argument| !argument.get_default_values().is_empty()) {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.contains("[default"), "{} --{}: {help}", command.get_name(), argument.get_id());
        }
    }
}
