/** The imaging worklist: filters as you type, cursor paging, and the last list marked as old when the archive is down. */
import { useState } from 'react';
import { Link } from 'wouter';
import { Button, Empty, Icon, Kbd, Notice, ProblemNotice, Skeleton } from '@/kit';
import { MoreRows } from '@/kit/MoreRows';
import { Modality } from '@/kit/WorkChips';
import { t } from '@/lib/i18n/app';
import { studyName } from '@/lib/names';
import { calendarDate, clock, timeOfDay } from '@/lib/when';
import type { Study } from '@/protocol/types';
import { rememberStudy, useReloadTurn } from './rows';
import { MODALITIES, useStudies, type Span, type StudyFilter } from './useStudies';

const SPANS: readonly Span[] = ['any', 'today', 'week', 'month'];

function FilterBar({ filter, onChange }: { filter: StudyFilter; onChange: (filter: StudyFilter) => void }) {
  return (
    <div className="filters" role="search">
      <label className="search grow">
        <span className="sr-only">{t('studies.search')}</span>
        <Icon name="search" />
        <input
          id="study-search"
          className="input"
          type="search"
          placeholder={t('studies.search.hint')}
          autoComplete="off"
          spellcheck={false}
          value={filter.q}
          onInput={(event) => onChange({ ...filter, q: event.currentTarget.value })}
          onKeyDown={(event) => event.key === 'Escape' && event.currentTarget.blur()}
        />
        <span className="hide-phone">
          <Kbd>/</Kbd>
        </span>
      </label>
      <select
        className="input"
        aria-label={t('studies.modality')}
        value={filter.modality}
        onChange={(event) => onChange({ ...filter, modality: event.currentTarget.value })}
      >
        <option value="">{t('studies.modality.all')}</option>
        {MODALITIES.map((code) => (
          <option key={code} value={code}>
            {code}
          </option>
        ))}
      </select>
      <select
        className="input"
        aria-label={t('studies.span')}
        value={filter.span}
        onChange={(event) => onChange({ ...filter, span: event.currentTarget.value as Span })}
      >
        {SPANS.map((span) => (
          <option key={span} value={span}>
            {t(`studies.span.${span}`)}
          </option>
        ))}
      </select>
    </div>
  );
}

function StudyRow({ study, onConsult }: { study: Study; onConsult: ((study: Study) => void) | null }) {
  const name = studyName(study.patient_name);
  const title = study.description || t('studies.untitled');
  return (
    <tr>
      <td className="cell-patient">
        <Link
          href={`/studies/${encodeURIComponent(study.study_uid)}`}
          data-row
          ref={(element: Element | null) => rememberStudy(element, study)}
        >
          <strong>{name.first || t('studies.no_name')}</strong>
          {name.second && <span className="soft"> {name.second}</span>}
          <span className="faint small num">{study.patient_id}</span>
        </Link>
      </td>
      <td className="cell-study">
        <span className="row nowrap">
          {study.modalities.map((code) => (
            <Modality key={code} code={code} />
          ))}
          <span className="clip">{title}</span>
        </span>
      </td>
      <td className="cell-date num">
        {calendarDate(study.study_date)}
        <span className="faint small">{timeOfDay(study.study_time)}</span>
      </td>
      <td className="cell-images num soft">{t('studies.images', { n: study.instances })}</td>
      <td className="cell-accession num faint small">{study.accession_number}</td>
      <td className="cell-actions">
        {onConsult && (
          <Button
            variant="quiet"
            icon="send"
            onClick={() => onConsult(study)}
            aria-label={t('studies.consult_on', { study: title })}
          >
            {t('studies.consult')}
          </Button>
        )}
      </td>
    </tr>
  );
}

function SkeletonRows() {
  return (
    <tbody aria-busy="true">
      {[62, 48, 70, 55, 66, 50, 60, 44].map((share, n) => (
        <tr key={n}>
          <td className="cell-patient">
            <Skeleton share={share} />
          </td>
          <td className="cell-study">
            <Skeleton share={share + 20} />
          </td>
          <td className="cell-date">
            <Skeleton share={60} />
          </td>
          <td className="cell-images">
            <Skeleton share={50} />
          </td>
          <td className="cell-accession">
            <Skeleton share={60} />
          </td>
          <td />
        </tr>
      ))}
    </tbody>
  );
}

export function Studies({ reloadTurn, onConsult }: { reloadTurn: number; onConsult: ((study: Study) => void) | null }) {
  const [filter, setFilter] = useState<StudyFilter>({ q: '', modality: '', span: 'any' });
  const list = useStudies(filter);
  useReloadTurn(reloadTurn, list.reload);
  const filtered = filter.q !== '' || filter.modality !== '' || filter.span !== 'any';
  return (
    <section className="panel studies" id="studies" aria-labelledby="studies-title" tabIndex={-1}>
      <header className="panel-head">
        <h2 id="studies-title">{t('studies.title')}</h2>
        <FilterBar filter={filter} onChange={setFilter} />
      </header>
      {list.problem && (
        <div className="panel-note">
          {list.staleSince !== null ? (
            <Notice
              tone="warn"
              title={t('studies.stale', { time: clock(list.staleSince) })}
              action={
                <Button icon="refresh" onClick={list.reload}>
                  {t('action.retry')}
                </Button>
              }
            >
              {t('studies.stale.text')}
            </Notice>
          ) : (
            <ProblemNotice problem={list.problem} onRetry={list.reload} />
          )}
        </div>
      )}
      {(list.items === null ? list.problem === null : list.items.length > 0) && (
        <table className="study-table" data-busy={list.busy || undefined}>
          <thead>
            <tr>
              <th scope="col">{t('studies.col.patient')}</th>
              <th scope="col">{t('studies.col.study')}</th>
              <th scope="col">{t('studies.col.date')}</th>
              <th scope="col">{t('studies.col.images')}</th>
              <th scope="col">{t('studies.col.accession')}</th>
              <th scope="col">
                <span className="sr-only">{t('studies.col.actions')}</span>
              </th>
            </tr>
          </thead>
          {list.items === null ? (
            <SkeletonRows />
          ) : (
            <tbody>
              {list.items.map((study) => (
                <StudyRow key={study.study_uid} study={study} onConsult={onConsult} />
              ))}
            </tbody>
          )}
        </table>
      )}
      {list.items?.length === 0 && (
        <Empty
          icon="studies"
          title={t(filtered ? 'studies.none_match' : 'studies.empty')}
          action={
            filtered && (
              <Button onClick={() => setFilter({ q: '', modality: '', span: 'any' })}>{t('studies.clear')}</Button>
            )
          }
        >
          {t(filtered ? 'studies.none_match.text' : 'studies.empty.text')}
        </Empty>
      )}
      {list.more && <MoreRows more={list.more} busy={list.loadingMore} />}
    </section>
  );
}
