/** The kit: the small parts that every screen is made of. */
import './panel.css';
export { Button, Chip, Empty, Kbd, Notice, Skeleton, type Tone } from './base';
export { Icon, type IconName } from './Icon';
export { Dialog } from './Dialog';
export { Field, Segmented } from './Form';
export { PatientBanner, type BannerPatient } from './PatientBanner';
export { ProblemNotice } from './ProblemNotice';
export { notify, Toasts } from './Toasts';
