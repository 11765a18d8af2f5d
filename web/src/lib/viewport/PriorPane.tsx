/**
 * A study beside something else: the patient's studies by date, the series of the open one, and the lite viewport.
 * Priors are found by a study's UID, so that no patient data stands in an address; only when the archive does not know
 * that study yet are they asked for by the patient's identifier over QIDO-RS.
 */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import { Icon } from '@/kit';
import { api, withQuery } from '@/lib/api';
import { ApiError, asProblem, type Problem } from '@/lib/problem';
import { calendarDate } from '@/lib/when';
import type { Page, Study } from '@/protocol/types';
import { ProblemNotice } from '@/kit';
import { CineBar } from './CineBar';
import { text, type DicomJson } from './dicom';
import { displaySets, keepUnchanged, loadInstances, loadSeries, type DisplaySet, type SeriesHead } from './study';
import type { Viewport } from './viewport';
import { ViewportPane } from './ViewportPane';
import { v } from './words';

export interface Subject {
  studyUid: string | null;
  patientId: string | null;
}

interface Props {
  subject: Subject;
  /** An instance to open at once (a capture). */
  focus?: { studyUid: string; sopInstanceUid: string } | null;
  /** Changes when something new was stored. */
  freshness?: number;
  small?: boolean;
  /** Tells whose study is open, for the banner. */
  onOpenPatient?: (patientId: string | null) => void;
}

/** One row of the list of priors. */
export interface PriorRow {
  studyUid: string;
  patientId: string | null;
  date: string | null;
  description: string;
  modalities: string[];
}

function rowOf(study: Study): PriorRow {
  return {
    studyUid: study.study_uid,
    patientId: study.patient_id,
    date: study.study_date,
    description: study.description ?? '',
    modalities: study.modalities,
  };
}

/** Keep the studies of the patient whom `studyUid` belongs to: an archive that ignores the filter must not mix patients. */
export function onlyPatientOf(rows: readonly PriorRow[], studyUid: string): PriorRow[] {
  const own = rows.find((row) => row.studyUid === studyUid);
  return own ? rows.filter((row) => row.patientId === own.patientId) : [];
}

async function byStudy(studyUid: string, signal: AbortSignal): Promise<PriorRow[]> {
  const path = withQuery('/api/v1/imaging/worklist', { patient_of_study: studyUid });
  try {
    const page = await api.get<Page<Study>>(path, { signal });
    return onlyPatientOf(page.items.map(rowOf), studyUid);
  } catch (error) {
    if (error instanceof ApiError && error.problem.kind === 'missing') return []; // nothing of it is stored yet
    throw error;
  }
}

async function byPatient(patientId: string, signal: AbortSignal): Promise<PriorRow[]> {
  const rows = await api.get<DicomJson[] | null>(withQuery('/dicomweb/studies', { PatientID: patientId, limit: 20 }), {
    signal,
    headers: { accept: 'application/dicom+json' },
  });
  return (rows ?? [])
    .map((row) => ({
      studyUid: text(row, '0020000D'),
      patientId: text(row, '00100020') || null,
      date: text(row, '00080020') || null,
      description: text(row, '00081030'),
      modalities: (row['00080061']?.Value ?? []).map(String),
    }))
    .filter((row) => row.patientId === patientId);
}

async function loadPriors({ studyUid, patientId }: Subject, signal: AbortSignal): Promise<PriorRow[]> {
  const rows = studyUid ? await byStudy(studyUid, signal) : [];
  const found = rows.length > 0 || !patientId ? rows : await byPatient(patientId, signal);
  return found.sort((a, b) => (b.date ?? '').localeCompare(a.date ?? ''));
}

interface SeriesSets {
  head: SeriesHead;
  sets: DisplaySet[];
}

async function loadSets(studyUid: string, signal: AbortSignal): Promise<SeriesSets[]> {
  const heads = await loadSeries(studyUid, signal);
  return Promise.all(
    heads.map(async (head) => ({ head, sets: displaySets(await loadInstances(studyUid, head.seriesUid, signal)) })),
  );
}

export function PriorPane({ subject, focus = null, freshness = 0, small = false, onOpenPatient }: Props) {
  const [priors, setPriors] = useState<PriorRow[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [studyUid, setStudyUid] = useState<string | null>(null);
  const [series, setSeries] = useState<SeriesSets[] | null>(null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [viewport, setViewport] = useState<Viewport | null>(null);
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    const stop = new AbortController();
    loadPriors(subject, stop.signal).then(
      (rows) => {
        setPriors(rows);
        setProblem(null);
        setStudyUid(
          (open) => open ?? (rows.find((row) => row.studyUid !== subject.studyUid) ?? rows[0])?.studyUid ?? null,
        );
      },
      (error: unknown) => !stop.signal.aborted && setProblem(asProblem(error)),
    );
    return () => stop.abort();
  }, [subject.studyUid, subject.patientId, freshness, turn]);

  useEffect(() => {
    if (!focus) return;
    setStudyUid(focus.studyUid);
    setChosen(focus.sopInstanceUid);
  }, [focus?.studyUid, focus?.sopInstanceUid]);

  useEffect(() => {
    if (!studyUid) return;
    const stop = new AbortController();
    setSeries((old) => (old?.[0]?.head.studyUid === studyUid ? old : null));
    loadSets(studyUid, stop.signal).then(
      (found) => {
        setSeries((old) => {
          const before = old?.flatMap((entry) => entry.sets) ?? [];
          return found.map((entry) => ({ ...entry, sets: keepUnchanged(before, entry.sets) }));
        });
        setProblem(null);
      },
      (error: unknown) => !stop.signal.aborted && setProblem(asProblem(error)),
    );
    return () => stop.abort();
  }, [studyUid, freshness, turn]);

  const row = priors?.find((prior) => prior.studyUid === studyUid) ?? null;
  useEffect(() => onOpenPatient?.(row?.patientId ?? null), [row?.patientId]);

  const sets = series?.flatMap((entry) => entry.sets) ?? [];
  const set =
    sets.find((candidate) => candidate.instances.some((one) => one.sopInstanceUid === chosen)) ?? sets[0] ?? null;
  const start = chosen && set && !set.isClip ? { sopInstanceUid: chosen } : undefined;
  const nothing = priors !== null && studyUid === null;
  return (
    <div className="prior" data-study={studyUid ?? undefined}>
      <div className="prior-list" role="tablist" aria-label={v('priors')}>
        {(priors ?? []).map((prior) => (
          <button
            key={prior.studyUid}
            type="button"
            role="tab"
            className="prior-tab"
            aria-selected={prior.studyUid === studyUid}
            onClick={() => {
              setChosen(null);
              setStudyUid(prior.studyUid);
            }}
          >
            <b className="num">{calendarDate(prior.date)}</b>
            <span className="clip">
              {prior.studyUid === subject.studyUid
                ? v('this_room')
                : [prior.modalities.join(' '), prior.description].filter(Boolean).join(' · ')}
            </span>
          </button>
        ))}
        {studyUid && (
          <Link
            href={`/studies/${studyUid}`}
            className="btn btn-quiet btn-icon"
            aria-label={v('open_study')}
            title={v('open_study')}
          >
            <Icon name="arrow" />
          </Link>
        )}
      </div>
      {problem && <ProblemNotice problem={problem} onRetry={() => setTurn(turn + 1)} />}
      {nothing && !problem ? (
        <div className="prior-none">
          <strong>{subject.studyUid || subject.patientId ? v('no_priors') : v('not_bound')}</strong>
          <span>{subject.studyUid || subject.patientId ? v('no_priors_hint') : v('not_bound_hint')}</span>
        </div>
      ) : (
        <div className="prior-view">
          <ViewportPane
            set={set}
            start={start}
            small={small}
            testId="prior-viewport"
            emptyText={series && sets.length === 0 ? v('no_pictures') : v('loading')}
            onViewport={setViewport}
          />
        </div>
      )}
      {sets.length > 1 && (
        <div className="prior-sets" role="tablist" aria-label={v('series')}>
          {sets.map((candidate, i) => (
            <button
              key={candidate.id}
              type="button"
              role="tab"
              className="set-chip"
              aria-selected={candidate === set}
              onClick={() => setChosen(candidate.id)}
            >
              <Icon name={candidate.isClip ? 'video' : 'image'} />
              {i + 1} ·{' '}
              {candidate.isClip
                ? v('clip')
                : `${candidate.instances.length} ${v('stack', { n: candidate.instances.length })}`}
            </button>
          ))}
        </div>
      )}
      <CineBar viewport={viewport} />
    </div>
  );
}
