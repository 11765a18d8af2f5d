/**
 * The study viewer. Desktop: series left, tools above, one to four pictures. Phone: a layout of its own with one
 * picture, gestures and a strip of series. The address holds the study's UID, never the patient.
 */
import { useEffect, useMemo, useRef, useState } from 'react';
import { useLocation } from 'wouter';
import { Button, Dialog, Empty, PatientBanner, ProblemNotice } from '@/kit';
import { KeyList } from '@/kit/KeyList';
import { usePageKeys } from '@/lib/pageKeys';
import { personFromGroups } from '@/lib/pn';
import { may } from '@/lib/roles';
import { calendarDate } from '@/lib/when';
import { CineBar } from '@/lib/viewport/CineBar';
import { toggleOne, type DragTool } from '@/lib/viewport/gestures';
import type { DisplaySet } from '@/lib/viewport/study';
import { Thumbnail } from '@/lib/viewport/Thumbnail';
import type { Viewport } from '@/lib/viewport/viewport';
import { ViewportPane } from '@/lib/viewport/ViewportPane';
import { v } from '@/lib/viewport/words';
import type { Study } from '@/protocol/types';
import type * as Adding from './AddShown';
import { SeriesList, setLabel, StudyList, thumbnailPath } from './SeriesList';
import { useStudy, type StudyData } from './useStudy';
import { CELLS, GRIDS, PictureButtons, PresetPicker, presetsOf, ViewerTools, type Grid } from './ViewerTools';
import { w, type ViewerWord } from './words';
import './viewer.css';

const PHONE = '(max-width: 760px), (max-height: 480px) and (pointer: coarse)';

export default function ViewerPage({ reference }: { reference: string }) {
  const [query] = useState(() => matchMedia(PHONE));
  const [phone, setPhone] = useState(query.matches);
  useEffect(() => {
    const read = () => setPhone(query.matches);
    query.addEventListener('change', read);
    return () => query.removeEventListener('change', read);
  }, [query]);
  const data = useStudy(reference);
  const sets = useMemo(() => data.series?.flatMap((entry) => entry.sets ?? []) ?? [], [data.series]);
  return (
    <div className="viewer" data-phone={phone || undefined}>
      <Banner study={data.study} />
      <Body data={data} sets={sets} studyUid={reference} phone={phone} />
    </div>
  );
}

function Banner({ study }: { study: Study | null }) {
  if (!study) return <div className="banner viewer-banner" aria-busy="true" />;
  return (
    <PatientBanner
      patient={{
        patient_id: study.patient_id ?? '',
        name: personFromGroups(study.patient_name),
        birth_date: study.patient_birth_date ?? null,
        sex: study.patient_sex ?? null,
      }}
      study={[study.modalities.join(' '), study.description, calendarDate(study.study_date)]
        .filter(Boolean)
        .join(' · ')}
      accession={study.accession_number}
    />
  );
}

interface BodyProps {
  data: StudyData;
  sets: DisplaySet[];
  studyUid: string;
  phone: boolean;
}

function Body({ data, sets, studyUid, phone }: BodyProps) {
  const [, go] = useLocation();
  const isDone = data.series !== null && data.series.every((entry) => entry.sets !== null);
  if (data.problem && sets.length === 0) {
    const gone = data.problem.kind === 'missing';
    return gone ? (
      <Empty icon="studies" title={w('missing')} action={<Button onClick={() => go('/')}>{w('home')}</Button>}>
        {w('missing_text')}
      </Empty>
    ) : (
      <div className="viewer-problem">
        <ProblemNotice problem={data.problem} onRetry={data.reload} />
      </div>
    );
  }
  if (isDone && sets.length === 0) {
    return (
      <Empty icon="image" title={w('none')} action={<Button onClick={() => go('/')}>{w('home')}</Button>}>
        {w('none_text')}
      </Empty>
    );
  }
  const Layout = phone ? PhoneViewer : DeskViewer;
  return <Layout data={data} sets={sets} studyUid={studyUid} phone={phone} />;
}

/** The set that a cell shows: the chosen one, else the next in order that fits the cell's place. */
function setFor(sets: readonly DisplaySet[], chosen: string | null | undefined, cell: number): DisplaySet | null {
  if (chosen) {
    const found = sets.find((set) => set.id === chosen);
    if (found) return found;
  }
  return sets[cell] ?? null;
}

/** The part that adds pictures to a report, for those who write reports; null until it is here. */
function useAdding(): typeof Adding | null {
  const [adding, setAdding] = useState<typeof Adding | null>(null);
  useEffect(() => {
    if (may('report.draft')) import('./AddShown').then(setAdding, () => undefined); // the desk offers the pictures too
  }, []);
  return adding;
}

function DeskViewer({ data, sets, studyUid }: BodyProps) {
  const [, go] = useLocation();
  const [grid, setGrid] = useState<Grid>('1x1');
  const [active, setActive] = useState(0);
  const [chosen, setChosen] = useState<Record<number, string>>({});
  const [tool, setTool] = useState<DragTool>('window');
  const [viewports, setViewports] = useState<Record<number, Viewport | null>>({});
  const [keysOpen, setKeysOpen] = useState(false);
  const viewport = viewports[active] ?? null;
  const shown = setFor(sets, chosen[active], active);
  const patientId = data.study?.patient_id ?? null;
  const adding = useAdding();
  const latest = useRef({ viewport, sets, shown, studies: data.studies, adding });
  latest.current = { viewport, sets, shown, studies: data.studies, adding };

  const open = (set: DisplaySet | undefined) => set && setChosen((all) => ({ ...all, [active]: set.id }));
  const changeGrid = (next: Grid) => {
    setGrid(next);
    setActive((cell) => Math.min(cell, CELLS[next] - 1));
  };

  const keys = useMemo(() => {
    const on = (act: (viewport: Viewport) => void) => () => latest.current.viewport && act(latest.current.viewport);
    const series = (by: number) => () => {
      const { sets: all, shown: now } = latest.current;
      const at = all.findIndex((set) => set.id === now?.id);
      const next = all[at + by];
      if (next) setChosen((held) => ({ ...held, [active]: next.id }));
    };
    const prior = (by: number) => () => {
      const { studies } = latest.current;
      const next = studies[studies.findIndex((study) => study.study_uid === studyUid) + by];
      if (next) go(`/studies/${next.study_uid}`);
    };
    const preset = (n: number) =>
      on((current) => {
        const wanted = presetsOf(current)[n];
        if (wanted) current.setWindow(wanted.window);
      });
    return {
      ArrowDown: on((current) => current.step(1)),
      ArrowRight: on((current) => current.step(1)),
      ArrowUp: on((current) => current.step(-1)),
      ArrowLeft: on((current) => current.step(-1)),
      PageDown: series(1),
      PageUp: series(-1),
      Home: on((current) => current.seek(0)),
      End: on((current) => current.seek(Number.MAX_SAFE_INTEGER)),
      ' ': on((current) => current.play()),
      c: on((current) => current.play()),
      i: on((current) => current.setInvert(!current.state.peek().invert)),
      r: on((current) => current.rotate(1)),
      l: on((current) => current.rotate(-1)),
      h: on((current) => current.flip('h')),
      v: on((current) => current.flip('v')),
      '+': on((current) => current.zoomBy(1.25)),
      '-': on((current) => current.zoomBy(0.8)),
      '=': on(toggleOne),
      '0': on((current) => current.reset()),
      z: () => setTool((now) => (now === 'zoom' ? 'window' : 'zoom')),
      b: () => latest.current.adding?.addShown(latest.current.viewport, patientId),
      x: () => setGrid((now) => GRIDS[(GRIDS.indexOf(now) + 1) % GRIDS.length] ?? '1x1'),
      q: prior(1),
      w: prior(-1),
      '?': () => setKeysOpen(true),
      ...Object.fromEntries([0, 1, 2, 3, 4].map((n) => [String(n + 1), preset(n)])),
    };
  }, [active, studyUid, patientId, go]);
  usePageKeys(keys);

  return (
    <div className="viewer-desk">
      <SeriesList data={data} studyUid={studyUid} openId={shown?.id ?? null} onOpen={open} />
      <div className="viewer-main">
        <ViewerTools viewport={viewport} tool={tool} grid={grid} onTool={setTool} onGrid={changeGrid}>
          {adding && <adding.AddShown viewport={viewport} patientId={patientId} />}
        </ViewerTools>
        <div className="viewer-grid" data-grid={grid}>
          {Array.from({ length: CELLS[grid] }, (_, cell) => (
            <ViewportPane
              key={cell}
              set={setFor(sets, chosen[cell], cell)}
              tool={tool}
              active={CELLS[grid] > 1 && cell === active}
              testId={cell === 0 ? 'viewport' : `viewport-${cell + 1}`}
              emptyText={data.series === null ? w('loading') : undefined}
              onActivate={() => setActive(cell)}
              onViewport={(made) => setViewports((all) => ({ ...all, [cell]: made }))}
            />
          ))}
        </div>
        <CineBar viewport={viewport} />
      </div>
      {keysOpen && <ViewerKeys onClose={() => setKeysOpen(false)} />}
    </div>
  );
}

function PhoneViewer({ data, sets, studyUid }: BodyProps) {
  const patientId = data.study?.patient_id ?? null;
  const adding = useAdding();
  const [priors, setPriors] = useState(false);
  const [chosen, setChosen] = useState<string | null>(null);
  const [viewport, setViewport] = useState<Viewport | null>(null);
  const [tools, setTools] = useState(false);
  const shown = setFor(sets, chosen, 0);
  return (
    <div className="viewer-phone">
      <p className="reference-only" data-testid="reference-only">
        {v('reference_only')}
      </p>
      <div className="viewer-one">
        <ViewportPane
          set={shown}
          small
          testId="viewport"
          emptyText={data.series === null ? w('loading') : undefined}
          onViewport={setViewport}
        />
      </div>
      <CineBar viewport={viewport} />
      {tools && (
        <div className="phone-tools">
          <PictureButtons viewport={viewport} />
          {adding && <adding.AddShown viewport={viewport} patientId={patientId} />}
        </div>
      )}
      <div className="phone-row">
        <PresetPicker viewport={viewport} />
        <Button aria-expanded={tools} onClick={() => setTools(!tools)}>
          {w('picture_tools')}
        </Button>
        {data.studies.length > 1 && (
          <Button data-testid="btn-priors" onClick={() => setPriors(true)}>
            {w('priors', { n: data.studies.length - 1 })}
          </Button>
        )}
      </div>
      {sets.length > 1 && (
        <nav className="phone-series" data-testid="series-list" aria-label={w('series')}>
          {sets.map((set) => {
            const path = thumbnailPath(set);
            return (
              <button
                key={set.id}
                type="button"
                className="series-set"
                aria-pressed={set.id === shown?.id}
                data-set={set.id}
                onClick={() => setChosen(set.id)}
              >
                {path && <Thumbnail path={path} />}
                <span className="series-words">{setLabel(set)}</span>
              </button>
            );
          })}
        </nav>
      )}
      {priors && (
        <Dialog title={w('other_studies')} onClose={() => setPriors(false)}>
          <div className="phone-priors">
            <StudyList studies={data.studies} studyUid={studyUid} />
          </div>
        </Dialog>
      )}
    </div>
  );
}

const KEYS: readonly [string, ViewerWord][] = [
  ['↑ ↓ ← →', 'k_scroll'],
  ['PgUp PgDn', 'k_series'],
  ['Home End', 'k_ends'],
  ['c, space', 'k_cine'],
  ['1–5', 'k_presets'],
  ['z', 'k_zoom'],
  ['+ −', 'k_zoomby'],
  ['=', 'k_fit'],
  ['r l', 'k_rotate'],
  ['h v', 'k_flip'],
  ['i', 'k_invert'],
  ['x', 'k_grid'],
  ['q w', 'k_prior'],
  ['0', 'k_reset'],
  ['b', 'k_report'],
  ['g h', 'k_home'],
];

function ViewerKeys({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title={w('keys')} onClose={onClose}>
      <KeyList rows={KEYS.map(([key, meaning]) => [[key], w(meaning)])} />
    </Dialog>
  );
}
