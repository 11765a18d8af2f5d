/** What may be corrected of an object's identity; only what was changed is sent. */
import { Field } from '@/kit';
import { t } from '@/lib/i18n/app';
import type { Correction, HeldWhole } from './held';
import { w } from './words';

const TEXTS = ['patient_id', 'patient_name', 'birth_date'] as const;
const SEXES = ['', 'F', 'M', 'O'] as const;
const CHARACTER_SETS = ['ISO_IR 192', 'GB18030', 'ISO 2022 IR 149', 'ISO_IR 13', 'ISO_IR 100'] as const;
const SEX_WORD = { '': 'patient.sex.unknown', F: 'patient.sex.f', M: 'patient.sex.m', O: 'patient.sex.o' } as const;

interface Props {
  entry: HeldWhole;
  value: Correction;
  onChange: (value: Correction) => void;
}

/** Take a fact into the correction, or out of it when it is again what the object says. */
function changed<K extends keyof Correction>(value: Correction, name: K, to: Correction[K], was: unknown): Correction {
  const next = { ...value, [name]: to };
  if (to === was) delete next[name];
  return next;
}

export function IdentityFields({ entry, value, onChange }: Props) {
  const archived = Object.fromEntries(entry.comparison.facts.map((fact) => [fact.field, fact.archived ?? '']));
  return (
    <div className="identity-fields">
      {TEXTS.map((name) => (
        <Field key={name} label={w(name)} hint={archived[name] ? `${w('archive')}: ${archived[name]}` : undefined}>
          {(id, describedBy) => (
            <input
              id={id}
              className="input"
              autoComplete="off"
              spellcheck={false}
              aria-describedby={describedBy}
              inputMode={name === 'birth_date' ? 'numeric' : undefined}
              pattern={name === 'birth_date' ? '([12][0-9]{7})?' : undefined}
              placeholder={name === 'birth_date' ? 'YYYYMMDD' : name === 'patient_name' ? 'Wang^Ming=王^明' : undefined}
              value={value[name] ?? entry.identity[name] ?? ''}
              onInput={(event) => onChange(changed(value, name, event.currentTarget.value, entry.identity[name] ?? ''))}
            />
          )}
        </Field>
      ))}
      <Field label={w('sex')} hint={archived['sex'] ? `${w('archive')}: ${archived['sex']}` : undefined}>
        {(id, describedBy) => (
          <select
            id={id}
            className="input"
            aria-describedby={describedBy}
            value={value.sex ?? entry.identity['sex'] ?? ''}
            onChange={(event) =>
              onChange(
                changed(value, 'sex', event.currentTarget.value as 'M' | 'F' | 'O' | '', entry.identity['sex'] ?? ''),
              )
            }
          >
            {SEXES.map((sex) => (
              <option key={sex} value={sex}>
                {t(SEX_WORD[sex])}
              </option>
            ))}
          </select>
        )}
      </Field>
      <Field label={w('character_set')} hint={w('character_set_hint')}>
        {(id, describedBy) => (
          <select
            id={id}
            className="input"
            aria-describedby={describedBy}
            value={value.character_set ?? ''}
            onChange={(event) => {
              const chosen = CHARACTER_SETS.find((one) => one === event.currentTarget.value);
              onChange(changed(value, 'character_set', chosen, undefined));
            }}
          >
            <option value="">{w('character_set_kept')}</option>
            {CHARACTER_SETS.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
      </Field>
    </div>
  );
}
