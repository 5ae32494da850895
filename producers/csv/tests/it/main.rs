//! Every promise of `sqep-csv` in one program, so that it is linked once; memory, the peak of a whole process, has a program
//! of its own.

mod common;
mod dialects;
mod files;
mod ledger;
mod program;
mod real_data;
mod source;
mod suite;
