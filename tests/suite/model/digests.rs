//! The digests of the transcripts that every platform has to produce.
//!
//! They change with the generator, the words of the transcript, or what the product promises, and
//! with nothing else. A failing test prints the new ones; check the reason before they go in here.

/// By seed: in the platform's own store, and in memory. They differ where a job is reopened.
pub const DIGESTS: [(&str, &str); 24] = [
    ("b33e23cf026e6c73", "b33e23cf026e6c73"),
    ("74b538e3a704ce76", "fe8e81a8e2f177c2"),
    ("f0217b76cf9b56b4", "f0217b76cf9b56b4"),
    ("bbe5b4c4822e8e5c", "433da76334e0193c"),
    ("327eb8cb75315775", "327eb8cb75315775"),
    ("3627c97cd7da8091", "997f260b877b6763"),
    ("ffcb03a2cc5764e1", "ffcb03a2cc5764e1"),
    ("217e8eac72bb183f", "32240ea38d4553ee"),
    ("5344e0997974e059", "5344e0997974e059"),
    ("6aa8af31c3b913ed", "7e8a7ccd3ef61cae"),
    ("6890f33bc2bc555a", "6890f33bc2bc555a"),
    ("313aa95e90394ca7", "986f8a83d32c1fbe"),
    ("6166bafe70fefcb6", "6166bafe70fefcb6"),
    ("c28009188a6cb537", "e80b5080c4dc6cf7"),
    ("70431139d41ad14c", "70431139d41ad14c"),
    ("62af310073b13524", "a432237915d2dfeb"),
    ("19c47bd9d7de6985", "19c47bd9d7de6985"),
    ("73fa50ed57e79d2d", "a15c0623ea70f743"),
    ("53abe529a8d18c3c", "53abe529a8d18c3c"),
    ("c2602b936a927db1", "5ebcfad1a8482850"),
    ("5f36d14f065ea20a", "5f36d14f065ea20a"),
    ("b7241e00c4044dd1", "aa54b4ce2421977a"),
    ("50d207141bffc02f", "50d207141bffc02f"),
    ("82f172b459c67ec9", "c46b312efd16dd64"),
];
