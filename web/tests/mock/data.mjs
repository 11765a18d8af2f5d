// Invented people and studies for the mock backend. No real patient.
const now = Date.now();
export const ago = (minutes) => new Date(now - minutes * 60_000).toISOString();
export const ahead = (minutes) => ago(-minutes);

const person = (id, hospital, family, given, ideographic, birth, sex) => ({
  id,
  patient_id: hospital,
  issuer: 'YUNHE',
  name: { family, given, ideographic, phonetic: null },
  birth_date: birth,
  sex,
  created_at: ago(9000),
});

export const patients = [
  person('01J8P1', 'YH-204518', 'Lin', 'Xiaomei', '林^晓梅', '1961-04-12', 'F'),
  person('01J8P2', 'YH-198220', 'Zhao', 'Guoqiang', '赵^国强', '1949-11-30', 'M'),
  person('01J8P3', 'YH-207733', 'Chen', 'Yutong', '陈^雨桐', '1994-07-08', 'F'),
  person('01J8P4', 'YH-190034', 'Wu', 'Jianhua', '吴^建华', '1957-02-19', 'M'),
  person('01J8P5', 'YH-211902', 'Abdurahman', 'Aygul', null, '1978-09-25', 'F'),
  person('01J8P6', 'YH-211650', 'Huang', 'Zihan', '黄^子涵', '2016-05-02', 'M'),
];

export const rooms = [
  {
    id: 'demo',
    title: 'Ultrasound room 2',
    site_id: 'S1',
    site_name: '云河县人民医院',
    modality: 'US',
    state: 'live',
    live: true,
    started_at: ago(7),
    waiting_since: ago(4),
    participants: 2,
    consultation_id: '01J9C1',
    tracks: [],
  },
  {
    id: '01J9R2',
    title: 'Endoscopy suite',
    site_id: 'S2',
    site_name: 'Qingshan Township Clinic',
    modality: 'ES',
    state: 'lobby',
    live: false,
    started_at: null,
    waiting_since: ago(1),
    participants: 1,
    consultation_id: null,
    tracks: [],
  },
  {
    id: '01J9R3',
    title: 'Cath lab',
    site_id: 'S1',
    site_name: '云河县人民医院',
    modality: 'XA',
    state: 'paused',
    live: false,
    started_at: ago(41),
    waiting_since: null,
    participants: 4,
    consultation_id: null,
    tracks: [],
  },
];

const consultation = (id, patient, question, urgency, kind, state, minutes, due, more = {}) => ({
  id,
  patient,
  question,
  urgency,
  kind,
  state,
  requested_by: 'operator',
  requested_by_name: 'Dr Lan Operator',
  requested_at: ago(minutes),
  accepted_by: null,
  accepted_by_name: null,
  site_id: 'S1',
  room_id: null,
  report_id: null,
  study_uid: null,
  accession_number: `A${id.slice(-4)}`,
  due_at: due,
  history: [
    { at: ago(minutes), by: 'operator', by_name: 'Dr Lan Operator', from: null, to: 'requested', reason: null },
  ],
  ...more,
});

export const consultations = [
  consultation(
    '01J9C1',
    patients[0],
    'Hypoechoic lesion left lobe of the thyroid, 14 mm, taller than wide. Biopsy now?',
    'stat',
    'live',
    'requested',
    6,
    ahead(4),
  ),
  consultation(
    '01J9C2',
    patients[1],
    'Chest pain since 3 h, known LBBB. Compare CT with 2024, please.',
    'urgent',
    'second_opinion',
    'accepted',
    150,
    ago(12),
    {
      accepted_by: 'specialist',
      accepted_by_name: 'Prof. Wen Specialist',
      study_uid: '1.2.826.0.1.3680043.8.498.1',
      history: [
        { at: ago(150), by: 'operator', by_name: 'Dr Lan Operator', from: null, to: 'requested', reason: null },
        {
          at: ago(121),
          by: 'specialist',
          by_name: 'Prof. Wen Specialist',
          from: 'requested',
          to: 'accepted',
          reason: null,
        },
      ],
    },
  ),
  consultation(
    '01J9C3',
    patients[2],
    'Routine follow-up of focal nodular hyperplasia.',
    'routine',
    'report',
    'reporting',
    700,
    ahead(560),
    {
      accepted_by: 'specialist',
      accepted_by_name: 'Prof. Wen Specialist',
      report_id: '01J9T1',
      history: [
        { at: ago(700), by: 'operator', by_name: 'Dr Lan Operator', from: null, to: 'requested', reason: null },
        {
          at: ago(640),
          by: 'specialist',
          by_name: 'Prof. Wen Specialist',
          from: 'requested',
          to: 'accepted',
          reason: null,
        },
        {
          at: ago(60),
          by: 'specialist',
          by_name: 'Prof. Wen Specialist',
          from: 'in_session',
          to: 'reporting',
          reason: null,
        },
      ],
    },
  ),
  consultation(
    '01J9C4',
    patients[3],
    'Polyp at 38 cm, resect here or refer?',
    'urgent',
    'live',
    'in_session',
    50,
    ahead(70),
    { accepted_by: 'specialist', accepted_by_name: 'Prof. Wen Specialist', room_id: '01J9R3' },
  ),
  consultation('01J9C5', patients[4], 'Post-operative control.', 'routine', 'report', 'completed', 4000, ago(2600), {
    accepted_by: 'specialist',
    accepted_by_name: 'Prof. Wen Specialist',
    report_id: '01J9T2',
  }),
];

const WEN = { id: 'specialist', name: 'Prof. Wen Specialist' };
const RUI = { id: 'reviewer', name: 'Prof. Rui Reviewer' };

export const reports = {
  '01J9T1': {
    id: '01J9T1',
    consultation_id: '01J9C3',
    patient: patients[2],
    state: 'drafting',
    version: 3,
    etag: '"3"',
    language: 'en',
    author: WEN,
    reviewer: null,
    signed_by: null,
    signed_at: null,
    hash: null,
    addenda: [],
    sections: {
      findings:
        'Liver of normal size. In segment VI a 32 x 28 mm lesion with central scar, unchanged from the study of March. No new lesion.',
      impression: 'Focal nodular hyperplasia, unchanged.',
      recommendation: 'Control in 12 months.',
    },
    key_images: [
      {
        study_uid: '1.2.826.0.1.3680043.8.498.2',
        series_uid: '1.2.826.0.1.3680043.8.498.2.1',
        sop_instance_uid: '1.2.826.0.1.3680043.8.498.2.1.7',
        frame: 1,
      },
    ],
  },
  '01J9T2': {
    id: '01J9T2',
    consultation_id: '01J9C5',
    patient: patients[4],
    state: 'signed',
    version: 5,
    etag: '"5"',
    language: 'en',
    author: WEN,
    reviewer: RUI,
    signed_by: RUI,
    signed_at: ago(1400),
    addenda: [],
    hash: '8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d',
    sections: {
      findings: 'No residual fluid. Anastomosis without stenosis.',
      impression: 'Regular post-operative state.',
      recommendation: 'No further imaging needed.',
    },
    key_images: [],
  },
};

export const versions = {
  '01J9T1': [
    {
      version: 1,
      at: ago(55),
      by: WEN,
      act: 'open',
      state: 'drafting',
      reason: '',
      sections: { findings: 'Liver of normal size. In segment VI a 30 mm lesion.', impression: '', recommendation: '' },
    },
    {
      version: 2,
      at: ago(40),
      by: WEN,
      act: 'edit',
      state: 'drafting',
      reason: '',
      sections: {
        findings: 'Liver of normal size. In segment VI a 32 x 28 mm lesion with central scar. No new lesion.',
        impression: 'Focal nodular hyperplasia.',
        recommendation: 'Control in 6 months.',
      },
    },
    {
      version: 3,
      at: ago(12),
      by: WEN,
      act: 'edit',
      state: 'drafting',
      reason: '',
      sections: reports['01J9T1'].sections,
    },
  ],
  '01J9T2': [
    {
      version: 5,
      at: ago(1400),
      by: RUI,
      act: 'sign',
      state: 'signed',
      reason: '',
      sections: reports['01J9T2'].sections,
    },
  ],
};

const DESCRIPTIONS = [
  ['CT', 'CT Thorax nativ'],
  ['US', 'Thyroid ultrasound'],
  ['MR', 'MR Abdomen dynamic'],
  ['ES', 'Colonoscopy'],
  ['XA', 'Coronary angiography'],
  ['DX', 'Chest PA and lateral'],
];
const prior = (n, date, modalities, description, reason, state, more = {}) => ({
  study_uid: `1.2.826.0.1.3680043.8.498.7${n}`,
  study_date: date,
  study_time: '101112',
  description,
  modalities,
  instances: 120 * n,
  reason,
  state,
  problem: null,
  size_bytes: 61_000_000 * n,
  hot_bytes: state === 'hot' ? 61_000_000 * n : 0,
  chosen_at: ago(150),
  hot_at: state === 'hot' ? ago(149) : null,
  ...more,
});
const alike = {
  code: 'same-modality-and-body-part',
  text_en: 'Same modality and body part',
  text_zh: '设备类型和检查部位都相同',
};
const newest = { code: 'newest', text_en: 'Among the newest', text_zh: '时间较近' };

/** By the study that a consultation is about. */
export const priors = {
  '1.2.826.0.1.3680043.8.498.1': {
    consultation_id: '01J9C2',
    items: [
      prior(1, '20240311', ['CT'], 'Chest CT with contrast 胸部增强', alike, 'hot'),
      prior(2, '20220107', ['CT', 'SR'], 'Chest CT', alike, 'partly', { hot_bytes: 50_000_000 }),
      prior(3, '20251002', ['US'], 'Echocardiography', newest, 'failed', { problem: 'blobs-unavailable' }),
      prior(4, '20120606', ['MR'], 'Cardiac MR', newest, 'waiting', { problem: 'original-archived' }),
    ],
  },
};

export const studies = Array.from({ length: 87 }, (_, n) => {
  const who = patients[n % patients.length];
  const [modality, description] = DESCRIPTIONS[(n * 5) % DESCRIPTIONS.length];
  const day = new Date(now - n * 7.3 * 3_600_000);
  return {
    study_uid: `1.2.826.0.1.3680043.8.498.${n + 1}`,
    patient_id: who.patient_id,
    patient_name: {
      alphabetic: `${who.name.family}^${who.name.given}`,
      ideographic: who.name.ideographic,
      phonetic: null,
    },
    study_date: day.toISOString().slice(0, 10),
    study_time: day.toISOString().slice(11, 19),
    description,
    modalities: [modality],
    series: 1 + (n % 4),
    instances: 12 + ((n * 37) % 420),
    accession_number: `A${20250000 + n}`,
    received_at: day.toISOString(),
  };
});

export const sites = [
  {
    id: 'S1',
    name: '云河县人民医院',
    state: 'enrolled',
    online: true,
    last_seen: ago(0.2),
    version: '0.1.0',
    clock_offset_ms: 12,
    rooms: ['demo', '01J9R3'],
    spool: { unacknowledged: 0, bytes: 0 },
    devices: [
      {
        id: 'd1',
        name: 'Mindray Resona 7 (SDI 1)',
        kind: 'capture',
        state: 'live',
        detail: '',
        width: 1920,
        height: 1080,
        fps: 30,
      },
      {
        id: 'd2',
        name: 'SDI 2',
        kind: 'capture',
        state: 'no_signal',
        detail: 'No signal on SDI 2: cable unplugged or the source is off.',
        width: null,
        height: null,
        fps: null,
      },
      {
        id: 'd3',
        name: 'PACS link',
        kind: 'dimse',
        state: 'idle',
        detail: 'C-ECHO 4 ms',
        width: null,
        height: null,
        fps: null,
      },
    ],
  },
  {
    id: 'S2',
    name: 'Qingshan Township Clinic',
    state: 'enrolled',
    online: false,
    last_seen: ago(34),
    version: '0.1.0',
    clock_offset_ms: 840,
    rooms: ['01J9R2'],
    spool: { unacknowledged: 3, bytes: 48_300_112 },
    devices: [
      {
        id: 'd4',
        name: 'Olympus CV-190',
        kind: 'capture',
        state: 'idle',
        detail: 'The site is offline; this is its last report.',
        width: 1280,
        height: 720,
        fps: 25,
      },
    ],
  },
  {
    id: 'S3',
    name: 'Beiling Health Centre',
    state: 'pending',
    online: false,
    last_seen: null,
    version: null,
    clock_offset_ms: null,
    rooms: [],
    spool: { unacknowledged: 0, bytes: 0 },
    devices: [],
  },
];

const ACTIONS = [
  ['Prof. Wen Specialist', 'specialist', 'study.view', 'success', '1.2.826.0.1.3680043.8.498.2', 'YH-198220'],
  ['Dr Lan Operator', 'operator', 'consultation.request', 'success', '01J9C1', 'YH-204518'],
  ['trainee', 'trainee', 'report.sign', 'denied', '01J9T1', null],
  ['S1', 'site', 'instance.store', 'success', '1.2.826.0.1.3680043.8.498.9', 'YH-207733'],
  ['unknown', null, 'session.create', 'failure', null, null],
];
export const audit = Array.from({ length: 140 }, (_, n) => {
  const [actor, role, action, outcome, subject, patient_id] = ACTIONS[n % ACTIONS.length];
  return {
    seq: 1140 - n,
    time: ago(n * 11 + 1),
    actor,
    role,
    action,
    outcome,
    subject,
    patient_id,
    detail: outcome === 'denied' ? 'The role trainee may not do this (report.sign).' : '',
    hash: Array.from({ length: 64 }, (_, i) => '0123456789abcdef'[(n * 7 + i * 5 + ((n * i) % 11)) % 16]).join(''),
  };
});

const HELD_FINDINGS = [
  {
    code: 'identity-differs',
    level: 'V4',
    tag_path: '(0010,0030)',
    text_en: "Patient's Birth Date differs from the one that the archive has for this Patient ID",
    text_zh: '出生日期与归档中该患者 ID 的出生日期不同',
    mend: 'operator',
  },
  {
    code: 'attribute-absent',
    level: 'V2',
    tag_path: '(0008,0090)',
    text_en: "Referring Physician's Name is missing or empty",
    text_zh: '申请医师姓名缺失或为空',
    mend: 'vendor',
  },
];
const HELD_FACTS = [
  ['patient_id', 'YH-204518', 'YH-204518'],
  ['issuer', '', ''],
  ['patient_name', 'Chen^Guiying=陈^桂英', 'Chen^Guiying=陈^桂英'],
  ['birth_date', '19581103', '19580311'],
  ['sex', 'F', 'F'],
  ['study_date', '20261130', '20261130'],
  ['accession_number', 'A300', 'A300'],
  ['study_description', 'Abdomen', 'Abdomen'],
];
export const held = Array.from({ length: 14 }, (_, n) => ({
  id: `01JH${String(90 - n).padStart(22, '0')}`,
  state: n === 13 ? 'rejected' : 'held',
  version: 1,
  held_at: ago(n * 7 + 2),
  reasons: ['identity-differs'],
  study_uid: n < 12 ? '1.2.3' : '1.2.4',
  series_uid: '1.2.3.1',
  sop_instance_uid: `1.2.826.0.1.3680043.8.498.77.${n}`,
  sop_class_uid: '1.2.840.10008.5.1.4.1.1.6.1',
  modality: 'US',
  size_bytes: 1_843_200,
  origin: { kind: 'dimse', calling: 'US_ROOM_2' },
  identity: Object.fromEntries(HELD_FACTS.map(([field, value]) => [field, value])),
  proposed_by: null,
  proposal_digest: null,
  decided_by: n === 13 ? 'qc' : null,
  decided_at: n === 13 ? ago(1) : null,
  reason: n === 13 ? 'A phantom, no patient' : null,
  findings: HELD_FINDINGS,
  comparison: {
    study_uid: '1.2.3',
    same_study: true,
    facts: HELD_FACTS.map(([field, mine, archived]) => ({
      field,
      held: mine,
      archived,
      proposed: null,
      same: mine === archived,
    })),
  },
  proposal: null,
}));

export const users = {
  operator: 'Dr Lan Operator',
  specialist: 'Prof. Wen Specialist',
  reviewer: 'Prof. Rui Reviewer',
  trainee: 'Tao Trainee',
  referrer: 'Dr Yi Referrer',
  qc: 'Qin Qc',
  itsec: 'Song Itsec',
  admin: 'An Admin',
};
