//! Every promise of `sqep-parquet` in one program, so that it is linked once; limits, which runs itself again as a child,
//! has a program of its own.

mod archive;
mod common;
mod compaction;
mod floats;
mod program;
mod readers;
mod reading;
mod suite;
