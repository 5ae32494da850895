#!/usr/bin/env python3
"""Breaks the loops on purpose, one way at a time, and shows that the simulation notices each.

Works on a copy of the sources; the target folder is shared, so only the core is built again. Run by `make mutants`;
words after its name choose the mutants that have them in their names. With `SQEP_MUTANTS_MIN_MAX` no mutant is begun after so
many minutes: each day begins with another one, so that all get their turn, and what was not tried is said.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DELIVER, PUBLISH = "sqep/src/deliver.rs", "sqep/src/publish.rs"
TAKE, INSIST, GATHER = "sqep/src/deliver/take.rs", "sqep/src/deliver/insist.rs", "sqep/src/publish/gather.rs"

# What is broken, where, the text that is replaced and the text it is replaced with.
MUTANTS = [
    (
        "acknowledges before it writes",
        DELIVER,
        "        let (appetite, write) = (self.sink.appetite(), self.sink.write_all(&done, first, last));",
        "        held(self.inlet.settle(&Settlement { ids: done.ids.clone(), letters: Vec::new() }).await?)?;\n"
        "        let (appetite, write) = (self.sink.appetite(), self.sink.write_all(&done, first, last));",
    ),
    (
        "keeps the mark before it writes",
        DELIVER,
        "        let (appetite, write) = (self.sink.appetite(), self.sink.write_all(&done, first, last));",
        "        self.sink.keep(&Mark { born: standing.born.clone(), id: last, before: EntryId::ZERO }).await?;\n"
        "        let (appetite, write) = (self.sink.appetite(), self.sink.write_all(&done, first, last));",
    ),
    (
        "does not read what is pending",
        DELIVER,
        "        self.read_pending(&mut hand, &standing).await?;",
        "        drop(self.inlet.pending(EntryId::new(u64::MAX, 0)).await?);",
    ),
    (
        "buries a refused batch whole",
        INSIST,
        "                    Err(WriteError::Never(error)) => match rows {",
        "                    Err(WriteError::Never(error)) if rows.len() > 1 => {\n"
        "                        never.extend(rows.iter().map(|row| (*row, error.to_string())));\n"
        "                    }\n"
        "                    Err(WriteError::Never(error)) => match rows {",
    ),
    (
        "gives up after some tries",
        INSIST,
        "            let wait = backoff.next();\n            error!(\"{later:#}; the same batch again in {wait:?}\");",
        "            let wait = backoff.next();\n            if wait > std::time::Duration::from_secs(5) { return Ok(never); }\n"
        "            error!(\"{later:#}; the same batch again in {wait:?}\");",
    ),
    ("drops a half", INSIST, "parts.extend([right, left]);", "drop(right); parts.push(left);"),
    ("swaps the halves", INSIST, "parts.extend([right, left]);", "parts.extend([left, right]);"),
    (
        "acknowledges the unreadable without a letter",
        TAKE,
        "                    let refusal = whole(&entry, unreadable);\n"
        "                    hand.bury(&self.asker.group, entry, vec![refusal]);",
        "                    hand.count(&[whole(&entry, unreadable)]);",
    ),
    (
        "takes Later for done",
        INSIST,
        "Err(WriteError::Later(error)) => break error,",
        "Err(WriteError::Later(_)) => in_a_row = 0,",
    ),
    (
        "reads ahead without end",
        DELIVER,
        "    while !hand.is_full(appetite) && !stop.is_cancelled() {",
        "    while !hand.is_full(Appetite { records_max: 50 * appetite.records_max, ..appetite }) && !stop.is_cancelled() {",
    ),
    (
        "loses what it read ahead",
        DELIVER,
        "read_ahead(self.loop_, self.inlet, self.stop, appetite, hand).await",
        "read_ahead(self.loop_, self.inlet, self.stop, appetite, &mut InHand::<S::Record>::default()).await",
    ),
    (
        "settles what it read ahead with what it wrote",
        DELIVER,
        "ids: mem::take(&mut done.ids), letters",
        "ids: mem::take(&mut done.ids).into_iter().chain(hand.ids.iter().copied()).collect(), letters",
    ),
    (
        "reads ahead at the end",
        DELIVER,
        "            self.flush(hand, standing, !ended).await?;",
        "            self.flush(hand, standing, true).await?;",
    ),
    (
        "reads ahead before what is pending was read",
        DELIVER,
        "                self.flush(hand, standing, false).await?;",
        "                self.flush(hand, standing, true).await?;",
    ),
    (
        "settles without a look at the mark of a new stream",
        DELIVER,
        "        let plan = self.loop_.asker.plan(standing, mark.as_ref()).map_err(|e| Broken::Fatal(e.into()))?;",
        "        let mut asker = self.loop_.asker.clone();\n        asker.start = Some(crate::marks::Start::Latest);\n"
        "        let mark = mark.filter(|mark| mark.born == standing.born);\n"
        "        let plan = asker.plan(standing, mark.as_ref()).map_err(|e| Broken::Fatal(e.into()))?;",
    ),
    (
        "takes a conflict for done",
        PUBLISH,
        "                    Published::Conflict => return Err(Broken::Conflict),",
        "                    Published::Conflict => {}",
    ),
    (
        "forgets the source's cursor",
        PUBLISH,
        "        source.open(&cursors).await.map_err(Broken::of_source)?;",
        "        source.open(&crate::Cursors { fields: std::collections::BTreeMap::new(), ..cursors.clone() }).await.map_err(Broken::of_source)?;",
    ),
    (
        "does not write the letters of refused rows",
        GATHER,
        "        self.letters.extend(Letter::of_source(&self.publisher.source, &chunk.origin, &refused));",
        "        drop(Letter::of_source(&self.publisher.source, &chunk.origin, &refused));",
    ),
    (
        "turns to the stream before the past is settled",
        DELIVER,
        "        while !self.step(hand, standing, replay.done, <[Entry]>::is_empty).await? {}",
        "        self.step(hand, standing, replay.done, <[Entry]>::is_empty).await?;",
    ),
    (
        "turns to the stream while the past is still coming",
        DELIVER,
        "        if replay.done {",
        "        if replay.done || replay.after.version() < u64::MAX {",
    ),
    (
        "waits for the lease with the store locked",
        DELIVER,
        "            sink.release(self.partition).await;",
        "",
    ),
    (
        "keeps marks of the past",
        DELIVER,
        "        if standing.replay.is_none() {",
        "        if standing.born != \"\" {",
    ),
    (
        "gives the rows of the past new versions",
        GATHER,
        "            let versions = run.source.is_some().then_some(part.versions.as_slice());",
        "            let versions: Option<&[u64]> = None;",
    ),
]


def simulate(copy: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs the simulation of the sources in `copy`."""
    command = ["cargo", "test", "-q", "-p", "sqep", "--test", "simulation", "--target-dir", str(ROOT / "target")]
    # Some breaks show in one seed of thousands; those that show at once end at once.
    environment = {**os.environ, "SQEP_SIM_SEEDS": "20000"}
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)


def main() -> int:
    survivors, untried, end = [], [], time.monotonic() + 60 * float(os.environ.get("SQEP_MUTANTS_MIN_MAX", "inf"))
    chosen = [mutant for mutant in MUTANTS if all(word in mutant[0] for word in sys.argv[1:])]
    for name, file, old, _ in MUTANTS:
        if (ROOT / file).read_text().count(old) != 1:
            print(f"the mutant {name!r} no longer fits {file}: bring {pathlib.Path(__file__).name} up to date")
            return 1
    copy = ROOT / "target" / "mutants"
    shutil.rmtree(copy, ignore_errors=True)
    skip = shutil.ignore_patterns("target", ".git", ".venv", "demo", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=skip)
    sound = simulate(copy)
    if sound.returncode != 0:
        print(sound.stdout, sound.stderr, sep="\n")
        print("the simulation fails on the sources as they are")
        return 1
    today = int(time.time() // 86_400) * 7 % max(len(chosen), 1)
    for name, file, old, new in chosen[today:] + chosen[:today]:
        if time.monotonic() > end:
            untried.append(name)
            continue
        path = copy / file
        sources = path.read_text()
        path.write_text(sources.replace(old, new))
        broken = simulate(copy)
        path.write_text(sources)
        if "could not compile" in broken.stderr:
            print(broken.stderr)
            print(f"the mutant {name!r} does not compile")
            return 1
        caught = broken.returncode != 0
        why = next((line for line in broken.stdout.splitlines() if line.startswith("seed ")), "")
        print(f"{'caught  ' if caught else 'SURVIVED'}  a loop that {name}  {why[:100]}", flush=True)
        survivors += [] if caught else [name]
    shutil.rmtree(copy)
    caught = len(chosen) - len(survivors) - len(untried)
    print(f"{caught} passed, {len(survivors)} failed, {len(untried)} not tried for want of time")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
