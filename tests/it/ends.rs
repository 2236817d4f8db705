//! Clear ends: whatever keeps the process from working, its message says what, where and what to do, and the exit code
//! says which kind it was.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
};

use chaperone::audit::Verdict;

use crate::helpers::{
    sidecar::{Ended, Sidecar, ana_reads, chaperone, wait_for},
    sqlite::Sqlite,
};

/// A sidecar on the demo world, prepared and not started.
fn prepared() -> (Sqlite, Sidecar) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(Sqlite::demo());
    let sidecar = Sidecar::prepared(&world.url("app"), &world.url("store"));
    (world, sidecar)
}

/// Replaces `from` in the configuration.
fn configure(sidecar: &Sidecar, from: &str, to: &str) {
    let text = fs::read_to_string(sidecar.config_file()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(sidecar.config_file(), text.replacen(from, to, 1)).unwrap();
}

fn end(sidecar: &Sidecar) -> Ended {
    Ended::of(&mut sidecar.command())
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    let (_world, sidecar) = prepared();
    configure(&sidecar, "policies: {", "polices: {");
    let place = format!("{}:8", sidecar.config_file().display());
    end(&sidecar).says(1, &[&place, "unknown key `polices`", "did you mean `policies`?", "nothing was started"]);
    assert!(!sidecar.trail().exists());
}

#[test]
fn a_missing_configuration_and_a_missing_folder_are_named() {
    let missing = Ended::of(chaperone().args(["serve", "--config", "/nowhere/chaperone.yaml"]));
    missing.says(1, &["/nowhere/chaperone.yaml"]);
    let (_world, sidecar) = prepared();
    let policies = sidecar.folder().join("policies");
    fs::remove_dir_all(&policies).unwrap();
    end(&sidecar).says(3, &["this folder does not exist", &policies.display().to_string(), "next:"]);
}

#[test]
fn a_broken_policy_is_shown_with_file_line_and_hint() {
    let (_world, sidecar) = prepared();
    let broken = sidecar.folder().join("policies/broken.cedar");
    fs::write(&broken, "// one line\npermit (principal, action, resource").unwrap();
    let place = format!("{}:2", broken.display());
    end(&sidecar).says(3, &[&place, "permit (principal, action, resource", "hint:", "chaperone check"]);
}

#[test]
fn a_database_that_is_away_is_named_and_the_process_starts_unready() {
    let world = "postgres://app@127.0.0.1:1/ehr";
    let mut sidecar = Sidecar::serve(world, world);
    let readiness = sidecar.doors().probe("/readyz");
    assert_eq!(readiness.status, 503);
    for words in ["source `app` (postgres://127.0.0.1:1/ehr)", "connection refused", "mend `sources.app`", "not ready"]
    {
        assert!(readiness.body.contains(words), "`{words}` is not in {}", readiness.body);
    }
    let told = sidecar.doors().tcp().ask(&ana_reads()).unwrap();
    assert_eq!((told.status, &told.json()["context"]["reason"]), (200, &"data_unavailable".into()));
    let receipt = told.receipt();
    assert!(sidecar.records().iter().any(|(stored, _)| *stored == receipt));
    assert!(sidecar.log().contains("mend `sources.app`"), "the log says it too:\n{}", sidecar.log());
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
}

#[test]
fn an_occupied_port_is_named_and_nothing_is_left_half_open() {
    let (_world, first) = prepared();
    let first = first.started();
    let (_other, second) = prepared();
    let taken = first.doors().tcp;
    configure(&second, &format!("tcp: {{ listen: \"{}\"", second.doors().tcp), &format!("tcp: {{ listen: \"{taken}\""));
    end(&second).says(1, &[&taken, "Address already in use", "stop what listens there"]);
    assert_eq!(second.verify().verdict, Verdict::Whole, "its own trail was begun and ended");
    assert!(!second.doors().socket.exists());
    assert_eq!(first.doors().tcp().ask(&ana_reads()).unwrap().status, 200, "the first goes on");
}

#[test]
fn an_occupied_socket_is_named_and_its_owner_goes_on() {
    let (_world, first) = prepared();
    let first = first.started();
    let (_other, second) = prepared();
    let socket = first.doors().socket.display().to_string();
    configure(&second, &second.doors().socket.display().to_string(), &socket);
    end(&second).says(1, &[&socket, "a live server answers", "choose another path"]);
    assert_eq!(first.doors().unix().ask(&ana_reads()).unwrap().status, 200, "the first goes on");
}

#[test]
fn a_socket_without_a_folder_is_told_what_it_needs() {
    let (_world, sidecar) = prepared();
    let socket = sidecar.folder().join("none/pdp.sock").display().to_string();
    configure(&sidecar, &sidecar.doors().socket.display().to_string(), &socket);
    end(&sidecar).says(1, &[&socket, "the socket's folder must exist"]);
}

#[test]
fn a_second_process_on_one_trail_is_refused_with_folder_and_pid() {
    let (_world, first) = prepared();
    let first = first.started();
    let (_other, second) = prepared();
    let trail = first.trail().display().to_string();
    configure(&second, &second.trail().display().to_string(), &trail);
    let pid = format!("in use by process {}", first.pid());
    end(&second).says(1, &[&trail, &pid, "give this one a folder of its own"]);
    let receipt = first.doors().tcp().ask(&ana_reads()).unwrap().receipt();
    assert!(first.records().iter().any(|(stored, _)| *stored == receipt), "the first goes on answering and recording");
}

#[test]
fn a_trail_that_cannot_be_written_is_refused_before_anything_is_bound() {
    let (_world, sidecar) = prepared();
    // A file where the folder should be, and, unless root asks, a folder without the right to write.
    File::create(sidecar.trail()).unwrap();
    let trail = sidecar.trail().display().to_string();
    end(&sidecar).says(1, &[&trail, "`audit.dir` must be a folder that this user may write to"]);
    assert!(!sidecar.doors().socket.exists());
    if !rustix::process::geteuid().is_root() {
        fs::remove_file(sidecar.trail()).unwrap();
        fs::create_dir(sidecar.trail()).unwrap();
        fs::set_permissions(sidecar.trail(), fs::Permissions::from_mode(0o500)).unwrap();
        end(&sidecar).says(1, &[&trail, "Permission denied", "`audit.dir` must be a folder"]);
    }
}

#[test]
fn a_trail_on_a_file_system_without_writing_is_refused() {
    let (_world, sidecar) = prepared();
    // Nobody, root included, makes a folder in /proc.
    configure(&sidecar, &sidecar.trail().display().to_string(), "/proc/chaperone-audit");
    end(&sidecar).says(1, &["/proc/chaperone-audit", "`audit.dir` must be a folder that this user may write to"]);
}

#[test]
fn a_demo_twice_on_one_folder_is_refused_and_after_a_kill_it_starts_again() {
    let mut demo = Sidecar::demo();
    let pid = format!("in use by process {}", demo.pid());
    let config = demo.trail().with_file_name("chaperone.yaml");
    let edited = std::fs::read_to_string(&config).unwrap() + "# edited\n";
    std::fs::write(&config, &edited).unwrap();
    end(&demo).says(1, &[&demo.trail().display().to_string(), &pid]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), edited, "it wrote nothing");
    let first = demo.doors().tcp().ask(&ana_reads()).unwrap();
    assert_eq!(first.json()["decision"], true, "the first goes on");
    let token = demo.doors().token;
    demo.kill();
    demo.start();
    assert_eq!(demo.doors().token, token, "the folder is used again");
    let second = demo.doors().unix().ask(&ana_reads()).unwrap();
    assert_eq!(second.json()["decision"], true);
    assert_ne!(first.receipt().writer, second.receipt().writer, "each start is a writer of its own");
}

#[test]
fn sigterm_finishes_what_was_asked_and_seals_the_trail() {
    let mut demo = Sidecar::demo();
    let doors = demo.doors();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let doors = doors.clone();
            std::thread::spawn(move || {
                let mut asker = doors.unix();
                let mut receipts = Vec::new();
                // Until the connection is closed: whole answers only.
                while let Ok(told) = asker.ask(&ana_reads()) {
                    assert_eq!(told.status, 200, "{}", told.body);
                    receipts.push(told.receipt());
                }
                receipts
            })
        })
        .collect();
    wait_for("questions are being answered", || (demo.records().len() > 20).then_some(()));
    assert_eq!(demo.stop(), Some(0), "{}", demo.log());
    let records: std::collections::HashSet<_> = demo.records().into_iter().map(|(receipt, _)| receipt).collect();
    let mut answers = 0;
    for caller in callers {
        for receipt in caller.join().unwrap() {
            assert!(records.contains(&receipt), "{receipt:?}");
            answers += 1;
        }
    }
    assert!(answers >= 20, "{answers} answers");
    assert_eq!(demo.verify().verdict, Verdict::Whole);
    assert!(!doors.socket.exists(), "the socket went with its listener");
}
