/** Two people changed the same section: both texts, the difference, and a choice for each. Nothing is dropped unseen. */
import { useState } from 'react';
import { Button, Notice, Segmented } from '@/kit';
import { t } from '@/lib/i18n/app';
import type { Report, ReportSections } from '@/protocol/types';
import { DiffText } from './Diff';
import { mergeSections, type SectionName } from './draft';

type Choice = 'mine' | 'theirs' | 'both';
const CHOICES: readonly Choice[] = ['mine', 'theirs', 'both'];

function chosen(choice: Choice, mine: string, theirs: string): string {
  switch (choice) {
    case 'mine':
      return mine;
    case 'theirs':
      return theirs;
    case 'both':
      return [theirs, mine].filter(Boolean).join('\n\n');
  }
}

interface Props {
  base: ReportSections;
  mine: ReportSections;
  theirs: Report;
  onResolve: (text: ReportSections) => void;
}

export function Conflict({ base, mine, theirs, onResolve }: Props) {
  const { text, open } = mergeSections(base, theirs.sections, mine);
  const [choices, setChoices] = useState<Partial<Record<SectionName, Choice>>>({});
  const resolve = () => {
    const whole = { ...text };
    for (const name of open) whole[name] = chosen(choices[name] ?? 'both', mine[name], theirs.sections[name]);
    onResolve(whole);
  };
  return (
    <section className="panel conflict" aria-labelledby="conflict-title">
      <Notice tone="warn" title={t('report.conflict', { n: theirs.version })}>
        {t('report.conflict.text')}
      </Notice>
      <h2 id="conflict-title" className="sr-only">
        {t('report.conflict.title')}
      </h2>
      {open.map((name) => (
        <div key={name} className="stack">
          <div className="row">
            <h3 className="grow">{t(`report.section.${name}`)}</h3>
            <Segmented
              label={t('report.conflict.choose')}
              value={choices[name] ?? 'both'}
              onChange={(choice) => setChoices({ ...choices, [name]: choice })}
              options={CHOICES.map((value) => ({ value, label: t(`report.conflict.${value}`) }))}
            />
          </div>
          <p className="faint small">{t('report.conflict.legend')}</p>
          <DiffText before={theirs.sections[name]} after={mine[name]} />
        </div>
      ))}
      <div className="dialog-actions">
        <Button variant="primary" icon="check" onClick={resolve}>
          {t('report.conflict.save')}
        </Button>
      </div>
    </section>
  );
}
