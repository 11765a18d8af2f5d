/** Who the patient is, always in sight: name in both scripts, identifier, sex and age, study, accession. */
import { t } from '@/lib/i18n/app';
import { personName } from '@/lib/names';
import { ageYears, calendarDate } from '@/lib/when';
import type { Patient, Sex } from '@/protocol/types';
import './banner.css';
import { Icon } from './Icon';

export type BannerPatient = Pick<Patient, 'patient_id' | 'name' | 'birth_date' | 'sex'>;

interface Props {
  patient: BannerPatient | null; // null: nobody bound yet
  study?: string | null | undefined; // what was examined, in words
  accession?: string | null | undefined;
  /** Set when the live patient is not the open study's: the banner turns red and says this. */
  mismatch?: string | null | undefined;
}

function sexWord(sex: Sex | null | undefined): string {
  switch (sex) {
    case 'M':
      return t('patient.sex.m');
    case 'F':
      return t('patient.sex.f');
    case 'O':
      return t('patient.sex.o');
    case 'U':
    case '':
    case null:
    case undefined:
      return t('patient.sex.unknown');
  }
}

export function PatientBanner({ patient, study, accession, mismatch }: Props) {
  const name = patient ? personName(patient.name) : null;
  const age = ageYears(patient?.birth_date);
  return (
    <section className="banner" aria-label={t('patient.banner')} data-mismatch={mismatch ? '' : undefined}>
      {mismatch && (
        <p className="alarm" role="alert">
          <Icon name="warn" />
          {mismatch}
        </p>
      )}
      <p className="who">
        {name ? name.first : t('patient.none')}
        {name?.second && <span>{name.second}</span>}
      </p>
      {patient && (
        <dl>
          <div>
            <dt>{t('patient.id')}</dt>
            <dd className="num">{patient.patient_id}</dd>
          </div>
          <div>
            <dt className="sr-only">{t('patient.sex_age')}</dt>
            <dd>
              {sexWord(patient.sex)}
              {age !== null && ` · ${t('patient.age', { n: age })}`}
              {patient.birth_date && <span className="faint"> ({calendarDate(patient.birth_date)})</span>}
            </dd>
          </div>
          {study && (
            <div>
              <dt>{t('patient.study')}</dt>
              <dd>{study}</dd>
            </div>
          )}
          {accession && (
            <div>
              <dt>{t('patient.accession')}</dt>
              <dd className="num">{accession}</dd>
            </div>
          )}
        </dl>
      )}
    </section>
  );
}
