//! Whether an agent source gives what it should, and how long it waits for what does not come. Knows what is away, cut off
//! or silent; must not know lines, chunks nor requests.

use anyhow::bail;
use chrono::NaiveDateTime;
use tracing::{info, warn};

use super::{LiveSource, seconds};
use crate::{bar::Bar, daily::named};

impl<R: Bar> LiveSource<R> {
    /// Notices what is wrong in a session, and what is right again; metrics and the log say so.
    pub(super) fn judge(&mut self, now: NaiveDateTime) {
        let trades = self.in_session(now, seconds(self.plan.agent.stale_s_max));
        let wrong = if self.agents.is_empty() {
            trades.then_some("no agent is there")
        } else if !self.cut_off.is_empty() {
            Some("QMT does not answer its agent")
        } else {
            self.silent.then_some("no bar comes")
        };
        if wrong != self.wrong {
            if let Some(wrong) = wrong {
                warn!("degraded: {wrong}");
            } else {
                info!("no longer degraded");
            }
            self.wrong = wrong;
        }
        self.plan.meters.degrade(wrong.is_some());
    }

    /// How long a run with `--once` goes on without an agent.
    pub(super) fn patience(&self) -> anyhow::Result<()> {
        let max = self.plan.agent.once_patience_s_max;
        if !self.plan.once || !self.agents.is_empty() || self.alone.elapsed().as_secs() < max {
            return Ok(());
        }
        if self.came {
            bail!(
                "the agent is gone, and none came within {max} s (agent.once_patience_s_max); start it and run this again \
                 for the rest, or leave out --once"
            );
        }
        bail!("no agent came within {max} s: start it, or leave out --once");
    }

    /// Whether everything came that was asked for; else what did not.
    pub fn complete(&self) -> anyhow::Result<()> {
        let missing = self.asks.missing();
        if missing.is_empty() {
            return Ok(());
        }
        bail!("securities whose history did not come: {}; run it again for them", named(&missing));
    }
}
