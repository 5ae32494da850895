//! Every promise of `sqep-qmt` in one program, so that it is linked once. Programs of their own: memory, whose peak is its
//! process's; speed, which measures the machine; and shipped, whose market runs by the wall clock.

mod agent;
mod bytes;
mod common;
mod folder;
mod history;
mod live;
mod protocol;
mod recording;
mod suite;
mod trouble;
