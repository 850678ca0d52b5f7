use super::*;

const GUIDE: &str = include_str!("../../tests/guide.yaml");

fn found(text: &str) -> Vec<(String, Level, Option<usize>)> {
    let document = Document::read(text).unwrap();
    let findings = validate(&document, &Suppressed::default());
    findings.into_iter().map(|it| (it.validator.to_owned(), it.level, it.line)).collect()
}

fn only(text: &str, validator: &str, level: Level, line: usize) {
    let found = found(text);
    assert_eq!(found, [(validator.to_owned(), level, Some(line))], "{text}");
}

#[test]
fn file_of_the_guide_is_valid() {
    assert_eq!(found(GUIDE), []);
}

#[test]
fn each_mistake_is_found_by_its_validator_at_its_line() {
    let edit = |from: &str, to: &str| {
        assert!(GUIDE.contains(from), "{from}");
        GUIDE.replace(from, to)
    };
    let errors = [
        (edit("- InstanceType: t3.micro", "- InstanceType: t3.micra"), "InstanceTypeValidator", 19),
        (
            edit("- InstanceType: t3.micro", "- InstanceType: t4g.micro"),
            "InstanceArchitectureCompatibilityValidator",
            17,
        ),
        (edit("MinCount: 0", "MinCount: 11"), "ComputeResourceSizeValidator", 21),
        (edit("Name: queue1", "Name: Queue1"), "NameValidator", 15),
        (edit("Name: t3micro", "Name: a-dy-b"), "NameValidator", 17),
        (edit("Name: queue1", "Name: default"), "NameValidator", 15),
        (edit("MinCount: 0", "Efa: {Enabled: true}"), "InstancesEFAValidator", 20),
        (edit("Scheduler: slurm", "Scheduler: awsbatch"), "SchedulerValidator", 13),
        (
            edit("MinCount: 0", "CustomSlurmSettings: {Weight: 3}"),
            "CustomSlurmSettingsValidator",
            20,
        ),
        (edit("MinCount: 0", "SchedulableMemory: 2000"), "SchedulableMemoryValidator", 20),
        (format!("{GUIDE}LoginNodes: {{Pools: []}}\n"), "ConfigSchemaValidator", 25),
        (
            format!("{GUIDE}SharedStorage:\n- {{MountDir: /etc, Name: a, StorageType: Ebs}}\n"),
            "SharedStorageMountDirValidator",
            26,
        ),
    ];
    for (text, validator, line) in errors {
        let found = found(&text);
        let expected = (validator.to_owned(), Level::Error, Some(line));
        assert!(found.contains(&expected), "{validator} at {line} is not in {found:?}");
    }
    only(&edit("  Ssh:\n    KeyName: hpc-cluster\n", ""), "KeyPairValidator", Level::Warning, 4);
}

#[test]
fn efa_needs_a_word_on_placement() {
    let efa = GUIDE.replace(
        "InstanceType: t3.micro\n      MinCount",
        "InstanceType: c5n.18xlarge\n      Efa: {Enabled: true}\n      MinCount",
    );
    only(&efa, "EfaPlacementGroupValidator", Level::Error, 17);
    let group = |text: &str| {
        efa.replace(
            "    Networking:\n      Sub",
            &format!("    Networking:\n      PlacementGroup: {{{text}}}\n      Sub"),
        )
    };
    assert_eq!(found(&group("Enabled: true")), []);
    only(&group("Enabled: false"), "EfaPlacementGroupValidator", Level::Warning, 24);
    let off = GUIDE.replace("- InstanceType: t3.micro", "- InstanceType: c5n.18xlarge");
    only(&off, "InstancesEFAValidator", Level::Warning, 17);
    let small = GUIDE.replace(
        "    Networking:\n      Sub",
        "    Networking:\n      PlacementGroup: {Enabled: true}\n      Sub",
    );
    only(&small, "InstanceTypePlacementGroupValidator", Level::Error, 23);
}

#[test]
fn misspelt_key_hides_nothing_else() {
    let text = GUIDE
        .replace("  InstanceType: t3.micro\n", "  InstanceTyp: t3.micro\n")
        .replace("MinCount: 0", "MinCount: 11")
        .replace("Name: queue1", "Name: Queue1");
    let validators: Vec<_> = found(&text).into_iter().map(|it| (it.0, it.2)).collect();
    let expected = [
        ("ConfigSchemaValidator".to_owned(), Some(5)),
        ("NameValidator".to_owned(), Some(15)),
        ("ComputeResourceSizeValidator".to_owned(), Some(21)),
    ];
    assert_eq!(validators, expected);
}

#[test]
fn suppressed_validators_are_silent_but_for_the_schema() {
    let text = GUIDE.replace("Name: queue1", "Name: Queue1").replace("alinux2", "alinux");
    let document = Document::read(&text).unwrap();
    let names = |words: &[&str]| -> Vec<_> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let findings = validate(&document, &Suppressed::read(&words).unwrap());
        findings.into_iter().map(|it| it.validator).collect()
    };
    assert_eq!(names(&[]), ["ConfigSchemaValidator", "NameValidator"]);
    assert_eq!(names(&["type:NameValidator"]), ["ConfigSchemaValidator"]);
    assert_eq!(names(&["ALL"]), ["ConfigSchemaValidator"]);
    assert!(Suppressed::read(&["NameValidator".to_owned()]).is_err());
}

#[test]
fn names_of_clusters() {
    for good in ["a", "test-cluster", "A1"] {
        assert_eq!(check_name(good), None);
    }
    let long = "a".repeat(61);
    for bad in ["", "1bad", "under_score", "dot.ted", long.as_str()] {
        assert!(check_name(bad).is_some(), "{bad}");
    }
}
