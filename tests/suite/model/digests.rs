//! The digests of the transcripts that every platform has to produce.
//!
//! They change with the generator, the words of the transcript, or what the product promises, and
//! with nothing else. A failing test prints the new ones; check the reason before they go in here.

/// By seed: in the platform's own store, and in memory. They differ where a job is reopened.
pub const DIGESTS: [(&str, &str); 24] = [
    ("f64d8047ec24fc15", "f64d8047ec24fc15"),
    ("854936ce37c202b8", "010432bb60d7adcc"),
    ("225a53e908f6aa5a", "225a53e908f6aa5a"),
    ("fce426f6f3b49622", "cab28b59947e4195"),
    ("0ba71e1e547581e5", "0ba71e1e547581e5"),
    ("87b24da749b172dd", "4171c8abd0cbb0ab"),
    ("c490e65c04f33fcb", "c490e65c04f33fcb"),
    ("5786e8cafc6b52e4", "b1b236b06c6cd760"),
    ("107f2b5d3e34a970", "107f2b5d3e34a970"),
    ("160599b5686a2fff", "ad38c2046b457017"),
    ("631e77c7725af0b4", "631e77c7725af0b4"),
    ("ddea15f9fcc99436", "c6616d97b5ef7856"),
    ("b81f384ebc0da9d0", "b81f384ebc0da9d0"),
    ("7fa8ef5a0572b0bf", "8426f18e02f1090d"),
    ("c0c690790903dba1", "c0c690790903dba1"),
    ("4428c310a7664e8a", "072894c019bfd9c6"),
    ("a76c77d938b97e12", "a76c77d938b97e12"),
    ("d37b7ccc79c29b55", "aba277ccf0ae2882"),
    ("2af1843cefd55698", "2af1843cefd55698"),
    ("b9a1441e4c397946", "4cc92da9a47bb95d"),
    ("897a4c8272df127e", "897a4c8272df127e"),
    ("a9801bc81d7eea2f", "5e17ccc4e875fbed"),
    ("4f068b45407208b2", "4f068b45407208b2"),
    ("bc79628ecf1b968f", "523894bd2a6eb2c8"),
];
