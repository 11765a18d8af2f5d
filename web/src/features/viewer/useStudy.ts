/** The data of the viewer: whose study it is, the patient's other studies, and the series as they come in. */
import { useEffect, useRef, useState } from 'react';
import { api, withQuery } from '@/lib/api';
import { listen } from '@/lib/events';
import { asProblem, type Problem } from '@/lib/problem';
import {
  displaySets,
  keepUnchanged,
  loadInstances,
  loadSeries,
  type DisplaySet,
  type SeriesHead,
} from '@/lib/viewport/study';
import type { Page, Study } from '@/protocol/types';

export interface SeriesEntry {
  head: SeriesHead;
  /** Null while its metadata is on the way. */
  sets: DisplaySet[] | null;
}

export interface StudyData {
  study: Study | null;
  /** Every study of the patient, newest first, this one included. */
  studies: Study[];
  series: SeriesEntry[] | null;
  problem: Problem | null;
  reload: () => void;
}

export function useStudy(studyUid: string): StudyData {
  const [studies, setStudies] = useState<Study[]>([]);
  const [series, setSeries] = useState<SeriesEntry[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [turn, setTurn] = useState(0);
  const known = useRef<DisplaySet[]>([]);
  const reload = () => setTurn((n) => n + 1);

  useEffect(() => {
    const stop = new AbortController();
    const fail = (error: unknown) => {
      if (!stop.signal.aborted) setProblem(asProblem(error));
    };
    loadStudies(studyUid, stop.signal).then((found) => !stop.signal.aborted && setStudies(found), fail);
    const tell = (entries: SeriesEntry[]) => {
      known.current = entries.flatMap((entry) => entry.sets ?? []);
      setSeries(entries);
    };
    loadInOrder(studyUid, stop.signal, known.current, tell).then(() => !stop.signal.aborted && setProblem(null), fail);
    return () => stop.abort();
  }, [studyUid, turn]);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = listen((event) => {
      if (event?.type !== 'instance.stored' || event.data['study_uid'] !== studyUid) return;
      clearTimeout(timer);
      timer = setTimeout(reload, 200);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [studyUid]);

  const study = studies.find((candidate) => candidate.study_uid === studyUid) ?? null;
  return { study, studies, series, problem, reload };
}

async function loadStudies(studyUid: string, signal: AbortSignal): Promise<Study[]> {
  const path = withQuery('/api/v1/imaging/worklist', { patient_of_study: studyUid });
  const { items } = await api.get<Page<Study>>(path, { signal });
  const own = items.find((study) => study.study_uid === studyUid);
  // An archive that ignores the filter must not mix patients.
  const same = own ? items.filter((study) => study.patient_id === own.patient_id) : [];
  return same.sort((a, b) => (b.study_date ?? '').localeCompare(a.study_date ?? ''));
}

/** Series heads first, then each series' metadata in order: the first picture does not wait for the last series. */
async function loadInOrder(
  studyUid: string,
  signal: AbortSignal,
  before: readonly DisplaySet[],
  tell: (entries: SeriesEntry[]) => void,
): Promise<void> {
  const heads = await loadSeries(studyUid, signal);
  if (signal.aborted) return;
  const entries: SeriesEntry[] = heads.map((head) => {
    const old = before.filter((set) => set.instances[0]?.seriesUid === head.seriesUid);
    return { head, sets: old.length > 0 ? old : null };
  });
  if (entries.length === 0) tell([]);
  for (const [i, head] of heads.entries()) {
    const sets = keepUnchanged(before, displaySets(await loadInstances(studyUid, head.seriesUid, signal)));
    if (signal.aborted) return;
    entries[i] = { head, sets };
    tell([...entries]);
  }
}
