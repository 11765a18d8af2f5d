/** Pick the patient by name, pinyin or number, or register a new one. Two identifiers are shown before anything is sent. */
import { useEffect, useState } from 'react';
import { Button, Empty, Field, Icon, PatientBanner, ProblemNotice, Segmented, Skeleton } from '@/kit';
import { useAction } from '@/lib/action';
import { api, withQuery } from '@/lib/api';
import { t } from '@/lib/i18n/app';
import { personName, splitIdeographic } from '@/lib/names';
import { useResource } from '@/lib/resource';
import { may } from '@/lib/roles';
import { calendarDate } from '@/lib/when';
import type { Page, Patient, Sex } from '@/protocol/types';

const TYPING_PAUSE_MS = 200;
const SHOWN = 6;

function Matches({ query, onPick }: { query: string; onPick: (patient: Patient) => void }) {
  const path = withQuery('/api/v1/patients', { q: query, limit: SHOWN });
  const { resource, value, reload } = useResource(path, (signal) => api.get<Page<Patient>>(path, { signal }));
  if (resource.kind === 'failed') return <ProblemNotice problem={resource.problem} onRetry={reload} />;
  if (!value) return <Skeleton share={80} />;
  if (value.items.length === 0) {
    return (
      <Empty icon="user" title={t('picker.none')}>
        {t('picker.none.text')}
      </Empty>
    );
  }
  return (
    <ul className="matches">
      {value.items.slice(0, SHOWN).map((patient) => {
        const name = personName(patient.name);
        return (
          <li key={patient.id}>
            <button type="button" onClick={() => onPick(patient)}>
              <strong>{name.first}</strong>
              {name.second && <span className="soft">{name.second}</span>}
              <span className="grow" />
              <span className="faint small num">{calendarDate(patient.birth_date)}</span>
              <span className="soft small num">{patient.patient_id}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

function FindPatient({
  firstQuery,
  onPick,
  onNew,
}: {
  firstQuery: string;
  onPick: (patient: Patient) => void;
  onNew: () => void;
}) {
  const [query, setQuery] = useState(firstQuery);
  const [settled, setSettled] = useState(firstQuery);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(query.trim()), TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [query]);
  return (
    <div className="stack">
      <Field label={t('picker.find')}>
        {(id) => (
          <div className="row nowrap">
            <div className="search grow">
              <Icon name="search" />
              <input
                id={id}
                className="input"
                type="search"
                autoFocus
                autoComplete="off"
                spellcheck={false}
                placeholder={t('picker.find.hint')}
                value={query}
                onInput={(event) => setQuery(event.currentTarget.value)}
              />
            </div>
            {may('patient.write') && (
              <Button icon="plus" onClick={onNew}>
                {t('picker.new')}
              </Button>
            )}
          </div>
        )}
      </Field>
      <Matches query={settled} onPick={onPick} />
    </div>
  );
}

interface Draft {
  patient_id: string;
  family: string;
  given: string;
  ideographic: string;
  birth_date: string;
  sex: Sex;
}

const EMPTY: Draft = { patient_id: '', family: '', given: '', ideographic: '', birth_date: '', sex: '' };
const TEXTS = ['patient_id', 'family', 'given', 'ideographic'] as const;

function NewPatient({ onMade, onBack }: { onMade: (patient: Patient) => void; onBack: () => void }) {
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const { busy, problem, run } = useAction();
  const save = () =>
    run(async () => {
      const { patient_id, birth_date, sex, family, given, ideographic } = draft;
      const name = { family: family.trim(), given: given.trim(), ideographic: splitIdeographic(ideographic) };
      onMade(
        await api.post<Patient>('/api/v1/patients', {
          patient_id: patient_id.trim(),
          name,
          birth_date: birth_date.replaceAll('-', ''),
          sex,
        }),
      );
    });
  return (
    <form
      className="stack new-patient"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <div className="new-grid">
        {TEXTS.map((key) => (
          <Field key={key} label={t(`picker.${key}`)}>
            {(id) => (
              <input
                id={id}
                className="input"
                required={key !== 'ideographic' && key !== 'given'}
                autoFocus={key === 'patient_id'}
                autoComplete="off"
                maxLength={64}
                value={draft[key]}
                onInput={(event) => setDraft({ ...draft, [key]: event.currentTarget.value })}
              />
            )}
          </Field>
        ))}
        <Field label={t('picker.birth_date')}>
          {(id) => (
            <input
              id={id}
              className="input"
              type="date"
              value={draft.birth_date}
              onInput={(event) => setDraft({ ...draft, birth_date: event.currentTarget.value })}
            />
          )}
        </Field>
        <div className="field">
          <span className="label">{t('picker.sex')}</span>
          <Segmented
            label={t('picker.sex')}
            value={draft.sex}
            onChange={(sex) => setDraft({ ...draft, sex })}
            options={[
              { value: 'F', label: t('patient.sex.f') },
              { value: 'M', label: t('patient.sex.m') },
              { value: 'O', label: t('patient.sex.o') },
              { value: '', label: t('picker.sex.unknown') },
            ]}
          />
        </div>
      </div>
      {problem && <ProblemNotice problem={problem} />}
      <div className="dialog-actions">
        <Button icon="back" onClick={onBack}>
          {t('picker.back')}
        </Button>
        <Button type="submit" variant="primary" busy={busy}>
          {t('picker.save')}
        </Button>
      </div>
    </form>
  );
}

export function PatientPicker({
  patient,
  onPick,
  firstQuery,
}: {
  patient: Patient | null;
  onPick: (patient: Patient | null) => void;
  firstQuery: string;
}) {
  const [making, setMaking] = useState(false);
  if (patient) {
    return (
      <div className="picked">
        <PatientBanner patient={patient} />
        <Button variant="quiet" onClick={() => onPick(null)}>
          {t('picker.change')}
        </Button>
      </div>
    );
  }
  return making ? (
    <NewPatient
      onBack={() => setMaking(false)}
      onMade={(made) => {
        setMaking(false);
        onPick(made);
      }}
    />
  ) : (
    <FindPatient firstQuery={firstQuery} onPick={onPick} onNew={() => setMaking(true)} />
  );
}
